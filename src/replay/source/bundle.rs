//! A bundle as a source.

use std::{io::Read, path::Path};

use antiphon_schemas::{Epoch, Seq, Stored};

use super::{Error, Source};
use crate::replay::bundle::{Bundle, Manifest, Portion};

/// The entries of a bundle. Positions of a part have holes, or begin later than 1.
#[derive(Debug)]
pub struct BundleSource {
    bundle: Bundle,
    after: Seq,
}

impl BundleSource {
    /// Opens it for reading.
    ///
    /// # Errors
    /// As [`Bundle::open`].
    pub fn open(path: &Path) -> Result<BundleSource, Error> {
        Ok(BundleSource { bundle: Bundle::open(path)?, after: Seq::ZERO })
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        self.bundle.manifest()
    }
}

impl Source for BundleSource {
    fn shown(&self) -> String {
        self.bundle.path().display().to_string()
    }

    fn epoch(&self) -> Epoch {
        self.bundle.manifest().epoch()
    }

    fn seek(&mut self, after: Seq) -> Result<(), Error> {
        self.after = after;
        Ok(())
    }

    fn read(&mut self) -> Result<Vec<Stored>, Error> {
        let page = self.bundle.entries_after(self.after)?.unwrap_or_default();
        if let Some(last) = page.last() {
            self.after = last.seq();
        }
        Ok(page)
    }

    fn tail(&mut self) -> Result<Seq, Error> {
        Ok(self.bundle.manifest().last.unwrap_or_default())
    }

    fn place(&self, seq: Seq) -> String {
        self.bundle.place(seq)
    }

    fn part(&self) -> Option<&Portion> {
        self.bundle.manifest().part.as_ref()
    }

    fn checkpoint_file(&mut self, name: &str) -> Result<Option<Box<dyn Read + Send>>, Error> {
        self.bundle.checkpoint(name)
    }
}
