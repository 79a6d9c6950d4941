//! The notary's key pair in its folder: made at the first start, read at later ones.
//!
//! Promises: the secret is readable by its owner only and is never printed; a key that is there is never written over,
//! readable or not. The key keeps the name it was made under: origins are made of it, and must not change within an epoch
//! because somebody renamed the node.
//! Not here: what is signed (`notary`), the encoding of keys (`note`).

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{
    note::{self, Signer},
    store::Paths,
};

/// Only the owner reads and writes.
const OWNER_ONLY: u32 = 0o600;

/// Why there is no key to sign with; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder or a file in it cannot be read or written.
    #[error("cannot use `{}`: {}; make it readable for the user who runs Antiphon", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// What is there is no key.
    #[error(
        "`{}` is not the notary's key: {}; restore it from a backup, or move the folder away to start with a new key and a new history of checkpoints", .0.display(), .1
    )]
    Bad(PathBuf, note::Error),
    /// No key can have that name.
    #[error("cannot make a key of the name `{0}`: {1}")]
    Name(String, note::Error),
}

/// The key in the folder of these paths; made under this name if there is none.
///
/// # Errors
/// [`Error`]: nothing was changed that stood there.
pub fn load_or_make(paths: &Paths, name: &str) -> Result<Signer, Error> {
    let wrong = |path: &Path| {
        let path = path.to_path_buf();
        move |e| Error::Io(path, e)
    };
    let signer = match fs::read_to_string(&paths.key) {
        Ok(text) => {
            let mode = fs::metadata(&paths.key).map_err(wrong(&paths.key))?.permissions().mode();
            if mode & 0o077 != 0 {
                let file = paths.key.display();
                warn!(%file, mode = format!("{:o}", mode & 0o777), "others may read the notary's key; chmod 600 it");
            }
            Signer::from_secret_text(text.trim_end()).map_err(|why| Error::Bad(paths.key.clone(), why))?
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let signer = Signer::generate(name).map_err(|why| Error::Name(name.into(), why))?;
            fs::create_dir_all(&paths.folder).map_err(wrong(&paths.folder))?;
            write_secret(paths, &signer).map_err(wrong(&paths.key))?;
            signer
        }
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            return Err(Error::Bad(paths.key.clone(), note::Error::Key("it is not text")));
        }
        Err(e) => return Err(Error::Io(paths.key.clone(), e)),
    };
    // For people and programs to take away; it follows from the secret, so it is put right if it is not.
    let public = format!("{}\n", signer.verifier());
    if fs::read_to_string(&paths.public).ok().as_deref() != Some(&public) {
        fs::write(&paths.public, public).map_err(wrong(&paths.public))?;
    }
    Ok(signer)
}

/// Written aside and renamed: a crash leaves no half of a key, which every later start would refuse.
fn write_secret(paths: &Paths, signer: &Signer) -> io::Result<()> {
    let aside = paths.key.with_extension("key.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(OWNER_ONLY).open(&aside)?;
    // What an earlier try left may have another mode.
    file.set_permissions(Permissions::from_mode(OWNER_ONLY))?;
    file.write_all(format!("{}\n", signer.secret_text()).as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, &paths.key)?;
    File::open(&paths.folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::store::paths;

    #[test]
    fn the_key_is_made_once_for_its_owner_only_and_read_ever_after() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        let made = load_or_make(&paths, "antiphon/a").unwrap();
        assert_eq!(fs::metadata(&paths.key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&paths.public).unwrap().trim(), made.verifier().to_string());
        fs::remove_file(&paths.public).unwrap();
        let read = load_or_make(&paths, "antiphon/b").unwrap();
        assert_eq!(read.verifier(), made.verifier(), "it keeps its name");
        assert!(paths.public.exists());
    }

    #[test]
    fn a_key_that_cannot_be_read_is_named_not_shown_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let paths = paths(dir.path());
        load_or_make(&paths, "antiphon/a").unwrap();
        let secret = fs::read_to_string(&paths.key).unwrap();
        for damaged in
            [secret[..secret.len() / 2].to_owned(), String::new(), secret.replace("antiphon/a", "antiphon/b")]
        {
            fs::write(&paths.key, &damaged).unwrap();
            let why = load_or_make(&paths, "antiphon/a").unwrap_err().to_string();
            assert!(why.contains("notary.key` is not the notary's key") && why.contains("backup"), "{why}");
            assert!(damaged.len() < 30 || !why.contains(&damaged[20..30]), "{why}");
            assert_eq!(fs::read_to_string(&paths.key).unwrap(), damaged);
        }
        fs::write(&paths.key, [0xff, 0xfe]).unwrap();
        assert!(load_or_make(&paths, "antiphon/a").unwrap_err().to_string().contains("not text"));
        fs::remove_file(&paths.key).unwrap();
        fs::create_dir(&paths.key).unwrap();
        assert!(load_or_make(&paths, "antiphon/a").unwrap_err().to_string().contains("cannot use"));
    }
}
