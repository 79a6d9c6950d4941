//! Creates, lists and revokes workers' keys. The server allows this only from its own machine.

use antiphon_schemas::wire::work::{CreateKey, CreatedKey, WorkerKeys};

use super::{ANSWER_MAX, Client, Failure};

const PATH: [&str; 2] = ["api", "keys"];

impl Client {
    /// Creates a worker's key.
    pub(crate) async fn create_key(&self, key: &CreateKey) -> Result<CreatedKey, Failure> {
        let response = self.send(&PATH, |http, url| http.post(url).json(key).timeout(ANSWER_MAX)).await?;
        self.json(response).await
    }

    /// The valid keys.
    pub(crate) async fn keys(&self) -> Result<WorkerKeys, Failure> {
        let response = self.send(&PATH, |http, url| http.get(url).timeout(ANSWER_MAX)).await?;
        self.json(response).await
    }

    /// Revokes a key.
    pub(crate) async fn revoke_key(&self, id: &str) -> Result<(), Failure> {
        let path = [PATH[0], PATH[1], id];
        self.send(&path, |http, url| http.delete(url).timeout(ANSWER_MAX)).await.map(drop)
    }
}
