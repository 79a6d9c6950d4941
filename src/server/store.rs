//! Opens what a server keeps its messages in: the log of the configuration, the outbox beside it, the node's name.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use antiphon_schemas::Epoch;
use tracing::{info, warn};

use super::Error;
use crate::{
    clock::Clock,
    config::{Config, LogKind},
    log::{Log, file, memory::MemoryLog, redis as shared},
    node,
    outbox::Outbox,
    tasks::Tasks,
};

/// The name of a node that has its log for itself.
const NAME_ALONE: &str = "in-process";

/// Where a node keeps what it knows.
pub(super) struct Store {
    pub(super) name: Arc<str>,
    pub(super) log: Arc<dyn Log>,
    pub(super) outbox: Option<Outbox>,
    /// The folder of index, snapshots and checkpoints.
    pub(super) data: Option<PathBuf>,
}

/// Opens what the configuration names; what runs for it is among `tasks`.
pub(super) async fn open(config: &Config, clock: &Clock, tasks: &Tasks) -> Result<Store, Error> {
    let name: Arc<str> = config.node.as_deref().unwrap_or(NAME_ALONE).into();
    match &config.log {
        LogKind::Memory => {
            let log = Arc::new(MemoryLog::new(Epoch(rand::random()), clock.clone()));
            Ok(Store { name, log, outbox: None, data: None })
        }
        LogKind::File => {
            let log = open_file(config, clock).await?;
            Ok(Store { name, log, outbox: None, data: Some(config.data.clone()) })
        }
        LogKind::Redis(address) => {
            // Apart from a file log in the same folder: that is another log.
            let data = config.data.join("redis");
            fs::create_dir_all(&data).map_err(|e| Error::Data(data.clone(), e))?;
            let folder = data.join("outbox");
            let outbox = match config.salvage {
                true => Outbox::salvage(folder, clock.clone(), tasks).await?,
                false => Outbox::open(folder, clock.clone(), tasks).await?,
            };
            // The outbox's lock is held from here on, so nobody else makes up a name.
            let name = node_name(config, &data)?;
            let options = shared::Options {
                address: address.clone(),
                node: name.clone(),
                stamp: shared::Stamp::Store,
                known: node::remembered(&data),
            };
            let log = shared::RedisLog::open_among(options, tasks);
            Ok(Store { name, log: Arc::new(log), outbox: Some(outbox), data: Some(data) })
        }
    }
}

/// This node's name: as set, or as made up at the first start.
fn node_name(config: &Config, data: &Path) -> Result<Arc<str>, Error> {
    if let Some(name) = &config.node {
        return Ok(name.as_str().into());
    }
    let file = data.join("node");
    let wrong = |e| Error::Data(file.clone(), e);
    match fs::read_to_string(&file) {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().into()),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(wrong(e)),
        _ => {
            let name = format!("node-{:08x}", rand::random::<u32>());
            fs::write(&file, format!("{name}\n")).map_err(wrong)?;
            Ok(name.into())
        }
    }
}

async fn open_file(config: &Config, clock: &Clock) -> Result<Arc<dyn Log>, Error> {
    let options =
        file::Options { segment_bytes: config.segment_bytes, salvage: config.salvage, ..file::Options::default() };
    let (data, clock) = (config.data.clone(), clock.clone());
    let opened = tokio::task::spawn_blocking(move || file::FileLog::open_folder(data, options, clock)).await;
    let log = opened.map_err(|e| Error::Model(format!("the log's opening broke: {e}")))??;
    let recovery = log.recovery();
    if recovery.cut_bytes > 0 {
        info!(bytes = recovery.cut_bytes, "removed an incomplete write of the last run; it was never acknowledged");
    }
    if let Some(salvaged) = &recovery.salvaged {
        warn!("salvaged: {salvaged}");
    }
    Ok(Arc::new(log))
}
