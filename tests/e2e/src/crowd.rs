//! Manifests of workloads that exist on paper only: as many as a large mesh has.

use std::fmt::Write as _;

use anyhow::Result;
use mesh_harness::Manifests;

/// Workloads behind one Service.
pub const PER_SERVICE: usize = 50;

/// Writes `count` workloads of a node that does not exist, in files of `per_file`, and a Service for every fifty.
pub fn write(manifests: &Manifests, count: usize, per_file: usize) -> Result<()> {
    for (number, start) in (0..count).step_by(per_file).enumerate() {
        let mut text = String::new();
        for index in start..count.min(start + per_file) {
            workload(&mut text, index)?;
        }
        manifests.write(&format!("crowd-{number}.yaml"), &text)?;
    }
    let mut text = String::new();
    for service in 0..count.div_ceil(PER_SERVICE) {
        let [high, low] = u16::try_from(service)?.to_be_bytes();
        write!(
            text,
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: crowd-{service}, namespace: crowd }}\n\
             spec:\n  clusterIP: 10.97.{high}.{low}\n  selector: {{ app: crowd-{service} }}\n  \
             ports: [ {{ name: http, port: 80, targetPort: 8080 }} ]\n"
        )?;
    }
    manifests.write("crowd-services.yaml", &text)
}

/// Removes the files of [`write`].
pub fn remove(manifests: &Manifests) -> Result<()> {
    for entry in std::fs::read_dir(manifests.folder())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("crowd-") {
            manifests.remove(&name)?;
        }
    }
    Ok(())
}

fn workload(text: &mut String, index: usize) -> Result<()> {
    let [_, a, b, c] = u32::try_from(index)?.to_be_bytes();
    let service = index / PER_SERVICE;
    write!(
        text,
        "---\napiVersion: nodemesh.io/v1alpha1\nkind: Workload\n\
         metadata: {{ name: crowd-{index}, namespace: crowd, labels: {{ app: crowd-{service}, \
         nodemesh.io/mesh: enabled }} }}\n\
         spec:\n  node: node-far\n  serviceAccount: crowd-{service}\n  addresses: [\"10.{}.{b}.{c}\"]\n  \
         cgroup: crowd/{index}\n  ports: [ {{ name: http, port: 8080 }} ]\n",
        128 + a
    )?;
    Ok(())
}
