//! The service as its clients see it: where it is, the token, and what it answers, errors in its own words.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::{
    config::ServiceOptions,
    serve::{ADDRESS_FILE, TOKEN_FILE},
};

/// Where a data folder is mostly found.
const FOLDERS: [&str; 3] = ["data", "data/embedded", "data/kafka"];

/// A service to ask.
pub(super) struct Service {
    client: reqwest::Client,
    url: String,
    token: Option<String>,
    /// Where the token was sought, for those that have none.
    sought: String,
}

impl Service {
    /// Finds it.
    pub(super) fn find(options: &ServiceOptions) -> anyhow::Result<Self> {
        let folder = match &options.data_dir {
            Some(folder) => Some(folder.clone()),
            None => data_folder(&std::env::current_dir()?),
        };
        let read = |file: &str| {
            let path = folder.as_ref()?.join(file);
            fs::read_to_string(path)
                .ok()
                .map(|text| text.trim().to_owned())
        };
        let here = read(ADDRESS_FILE);
        let url = match (&options.url, &here) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(url)) => url.clone(),
            (None, None) => match &options.data_dir {
                Some(folder) => bail!(
                    "{} has no file `{ADDRESS_FILE}`, which a service writes when it starts; is this its --data-dir?",
                    folder.display()
                ),
                None => bail!(
                    "no service is found: none of {} is here or in a folder above with what a service writes there; start one with `wigwag serve`, or name it by --data-dir, or by --url and --token",
                    FOLDERS.join(", ")
                ),
            },
        };
        // The token of the service on this machine is for no other.
        let is_here = here.as_deref() == Some(&url) || options.data_dir.is_some();
        let sought = match &folder {
            Some(folder) if is_here => folder.join(TOKEN_FILE).display().to_string(),
            _ => "its data folder".to_owned(),
        };
        Ok(Self {
            client: reqwest::Client::builder().build()?,
            url,
            token: options
                .token
                .clone()
                .or_else(|| read(TOKEN_FILE).filter(|_| is_here)),
            sought,
        })
    }

    /// Asks, perhaps with a component, and gives a good answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        component: Option<Vec<u8>>,
    ) -> anyhow::Result<Response> {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = match component {
            Some(bytes) => request
                .header("Content-Type", "application/wasm")
                .body(bytes),
            None => request,
        };
        self.send(request).await
    }

    /// Writes JSON under a condition, a header and its value.
    pub(super) async fn put(
        &self,
        path: &str,
        value: Value,
        (header, condition): (&str, String),
    ) -> anyhow::Result<Response> {
        let request = self.client.put(format!("{}{path}", self.url));
        self.send(request.header(header, condition).json(&value))
            .await
    }

    async fn send(&self, mut request: RequestBuilder) -> anyhow::Result<Response> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status => Err(self.refusal(status, &answer.text().await.unwrap_or_default())),
        }
    }

    /// Asks for JSON.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.ask(Method::GET, path, None).await?;
        answer
            .json()
            .await
            .with_context(|| format!("{path} is not answered by JSON"))
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let url = &self.url;
        match error.is_connect() {
            true => anyhow!(
                "the service does not answer at {url}; start it with `wigwag serve`, or name another by --url"
            ),
            false => anyhow!("the service at {url} did not answer: {error}"),
        }
    }

    fn refusal(&self, status: StatusCode, body: &str) -> anyhow::Error {
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or(body);
        let sought = &self.sought;
        match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => anyhow!(
                "no token: the service wants one, and none was found in {sought}; give --token or WIGWAG_TOKEN"
            ),
            (StatusCode::UNAUTHORIZED, Some(_)) => anyhow!(
                "the service does not know the token; it makes another at each start and writes it to {sought}; where tokens are configured, give --token or WIGWAG_TOKEN"
            ),
            _ => match problem["stage"].as_str() {
                Some(stage) => anyhow!("refused at {stage}: {detail}"),
                None => anyhow!("{detail} ({status})"),
            },
        }
    }
}

/// The nearest folder in which a service says where it is.
fn data_folder(from: &Path) -> Option<PathBuf> {
    from.ancestors()
        .flat_map(|folder| FOLDERS.map(|data| folder.join(data)))
        .find(|data| data.join(ADDRESS_FILE).is_file())
}
