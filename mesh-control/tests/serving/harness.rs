//! The control plane in this process, and a client's side of its streams.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use mesh_api::admin::RouteReport;
use mesh_api::wire::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_api::wire::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use mesh_api::wire::nodemesh::v1::SignRequest;
use mesh_api::wire::nodemesh::v1::certificate_authority_client::CertificateAuthorityClient;
use mesh_api::{ResourceType, decode};
use mesh_control::app::App;
use mesh_control::ca::Authority;
use mesh_control::config::Config;
use mesh_control::tokens::TokenDirectory;
use mesh_model::{Change, NodeName, Workload};
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Streaming};

/// How long anything may take on a loaded machine.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);

pub(crate) struct Control {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) app: App,
}

pub(crate) struct Stream {
    pub(crate) requests: mpsc::Sender<DeltaDiscoveryRequest>,
    pub(crate) responses: Streaming<DeltaDiscoveryResponse>,
}

pub(crate) fn workload(name: &str, node: &str, address: &str) -> String {
    format!(
        "---\napiVersion: nodemesh.io/v1alpha1\nkind: Workload\n\
         metadata: {{ name: {name}, namespace: shop, labels: {{ app: web, nodemesh.io/mesh: enabled }} }}\n\
         spec: {{ node: {node}, serviceAccount: {name}, addresses: ['{address}'], cgroup: shop/{name} }}\n"
    )
}

pub(crate) fn service(name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: {name}, namespace: shop }}\n\
         spec: {{ clusterIP: {address}, selector: {{ app: web }}, ports: [ {{ port: 80, targetPort: 8080 }} ] }}\n"
    )
}

/// An HTTPRoute for the Service `web`.
pub(crate) fn route(name: &str, backend: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {{ name: {name}, namespace: shop, generation: 3 }}\n\
         spec: {{ parentRefs: [ {{ group: '', kind: Service, name: web }} ], rules: [ {{ matches: \
         [ {{ path: {{ value: /a }}, method: GET }} ], backendRefs: [ {{ name: {backend}, port: 80 }} ] }} ] }}\n"
    )
}

pub(crate) fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

// === impl Control ===

impl Control {
    pub(crate) async fn start(manifests: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("manifests")).unwrap();
        fs::write(folder.path().join("manifests/shop.yaml"), manifests).unwrap();
        let app = App::start(&Self::config(&folder)).await.unwrap();
        Self { folder, app }
    }

    pub(crate) fn config(folder: &tempfile::TempDir) -> Config {
        let path = folder.path().display();
        let text = format!(
            "[source]\nfolder = '{path}/manifests'\n[server]\naddress = '127.0.0.1:0'\n\
             [ca]\ndirectory = '{path}/ca'\ntrust-domain = 'test.local'\n[tokens]\ndirectory = '{path}/tokens'\n\
             [admin]\naddress = '127.0.0.1:0'\n"
        );
        let file = folder.path().join("control.toml");
        fs::write(&file, text).unwrap();
        Config::load(&file).unwrap()
    }

    pub(crate) fn write(&self, file: &str, manifests: &str) {
        // As editors and ConfigMaps do it: whole or not at all.
        let hidden = self.folder.path().join("manifests").join(format!(".{file}"));
        fs::write(&hidden, manifests).unwrap();
        fs::rename(hidden, self.folder.path().join("manifests").join(file)).unwrap();
    }

    pub(crate) fn tokens(&self) -> TokenDirectory {
        TokenDirectory::new(&self.folder.path().join("tokens"))
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca")
    }

    pub(crate) async fn channel(&self) -> Channel {
        let roots = Authority::open(&Self::config(&self.folder).ca)
            .unwrap()
            .signer()
            .roots_pem();
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(roots))
            .domain_name("mesh-control");
        let address = format!("https://{}", self.app.server_address());
        Endpoint::from_shared(address)
            .unwrap()
            .tls_config(tls)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// A token of the node that the running server knows.
    pub(crate) async fn token(&self, name: &str) -> String {
        let token = self.tokens().create(&node(name)).unwrap();
        let probe = || async {
            let mut client = CertificateAuthorityClient::new(self.channel().await);
            let request = with_token(SignRequest::default(), token.as_str());
            client.sign(request).await.unwrap_err().code()
        };
        let known = async {
            while probe().await == Code::Unauthenticated {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(DEADLINE, known).await.unwrap();
        token.as_str().to_owned()
    }

    pub(crate) async fn stream(&self, token: &str) -> Result<Stream, tonic::Status> {
        let (requests, receiver) = mpsc::channel(16);
        let mut client = AggregatedDiscoveryServiceClient::new(self.channel().await);
        let request = with_token(ReceiverStream::new(receiver), token);
        let responses = client.delta_aggregated_resources(request).await?.into_inner();
        Ok(Stream { requests, responses })
    }

    /// A stream, once the first load is in force.
    pub(crate) async fn ready_stream(&self, token: &str) -> Stream {
        let ready = async {
            loop {
                match self.stream(token).await {
                    Ok(stream) => return stream,
                    Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(DEADLINE, ready).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.app.admin_address()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    }

    /// The answer of `GET /routes`.
    pub(crate) async fn routes(&self) -> RouteReport {
        let answer = self.get("/routes").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    pub(crate) async fn get_until(&self, path: &str, wanted: &str) -> String {
        let found = async {
            loop {
                let answer = self.get(path).await;
                if answer.contains(wanted) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(DEADLINE, found)
            .await
            .unwrap_or_else(|_| panic!("{path} never says {wanted}"))
    }
}

pub(crate) fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

// === impl Stream ===

impl Stream {
    pub(crate) async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn subscribe(&self, resource_type: ResourceType, known: &[(&str, &str)]) {
        let known = known
            .iter()
            .map(|(name, version)| ((*name).to_owned(), (*version).to_owned()));
        self.send(DeltaDiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: known.collect(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    pub(crate) async fn receive(&mut self) -> DeltaDiscoveryResponse {
        timeout(DEADLINE, self.responses.message())
            .await
            .unwrap()
            .unwrap()
            .unwrap()
    }

    /// The status with which the stream ends.
    pub(crate) async fn end(&mut self) -> tonic::Status {
        loop {
            match timeout(DEADLINE, self.responses.message()).await.unwrap() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ends without a status"),
                Err(status) => return status,
            }
        }
    }

    pub(crate) async fn acknowledge(&self, response: &DeltaDiscoveryResponse) {
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        })
        .await;
    }

    pub(crate) async fn nothing_comes(&mut self) {
        let silence = timeout(Duration::from_millis(700), self.responses.message()).await;
        assert!(silence.is_err(), "an unexpected response: {silence:?}");
    }
}

pub(crate) fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect()
}

pub(crate) fn workloads(response: &DeltaDiscoveryResponse) -> BTreeMap<String, Workload> {
    let decoded =
        response.resources.iter().map(
            |resource| match decode(ResourceType::Workload, resource).unwrap() {
                Change::Workload(workload) => (workload.name.to_string(), workload),
                other => panic!("no workload: {other:?}"),
            },
        );
    decoded.collect()
}

pub(crate) fn request_for(identity: &str) -> SignRequest {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::default().serialize_request(&key).unwrap();
    SignRequest {
        csr: csr.der().to_vec(),
        identity: identity.to_owned(),
    }
}
