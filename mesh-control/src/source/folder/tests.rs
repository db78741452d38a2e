//! Which files are read, and what is said of those that can't be.

use std::os::unix::fs::symlink;

use super::*;

fn namespace(name: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n")
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (file, name) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, namespace(name)).unwrap();
    }
    folder
}

fn names(load: &Load) -> Vec<&str> {
    load.inputs
        .namespaces
        .iter()
        .map(|namespace| namespace.value.name.as_str())
        .collect()
}

fn problems(folder: &Path) -> Vec<String> {
    let prefix = format!("{}", folder.display());
    read(folder)
        .problems
        .iter()
        .map(|problem| problem.to_string().replace(&prefix, "DIR"))
        .collect()
}

#[test]
fn reads_manifests_below_in_the_order_of_their_paths() {
    let folder = folder(&[
        ("b.yaml", "two"),
        ("a.yml", "one"),
        ("c/d/e.json", "three"),
        ("notes.txt", "no"),
        (".hidden.yaml", "no"),
        (".git/x.yaml", "no"),
        ("f.yaml~", "no"),
    ]);
    fs::write(
        folder.path().join("c/d/e.json"),
        r#"{ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "three" } }"#,
    )
    .unwrap();
    let load = read(folder.path());
    assert_eq!(load.problems, []);
    assert_eq!(names(&load), ["one", "two", "three"]);
}

#[test]
fn follows_links_once() {
    let folder = folder(&[("real/a.yaml", "one")]);
    symlink("real/a.yaml", folder.path().join("link.yaml")).unwrap();
    symlink("..", folder.path().join("real/up")).unwrap();
    let load = read(folder.path());
    assert_eq!(load.problems, []);
    // The linked file counts for itself, and the link back up is not walked.
    assert_eq!(names(&load), ["one", "one"]);
}

#[test]
fn says_what_cannot_be_read() {
    let folder = folder(&[("a.yaml", "one")]);
    symlink("nowhere.yaml", folder.path().join("broken.yaml")).unwrap();
    fs::write(folder.path().join("latin1.yaml"), b"# \xe9").unwrap();
    assert_eq!(
        problems(folder.path()),
        [
            "error: DIR/broken.yaml: cannot be read: No such file or directory (os error 2); correct the link or remove it",
            "error: DIR/latin1.yaml: cannot be read: stream did not contain valid UTF-8; correct the file or its permissions",
        ]
    );
    assert_eq!(
        problems(&folder.path().join("gone"))[0],
        "error: DIR: cannot be read: No such file or directory (os error 2); check that the folder exists and may be \
         read by mesh-control"
    );
}

#[test]
fn warns_of_an_empty_folder() {
    let folder = folder(&[]);
    assert_eq!(
        problems(folder.path()),
        [
            "warning: DIR: the folder holds no manifest; put *.yaml, *.yml or *.json files there, or check source.folder in \
              the configuration"
        ]
    );
}

#[test]
fn the_digest_tells_loads_apart() {
    let folder = folder(&[("a.yaml", "one")]);
    let before = read(folder.path()).digest;
    assert_eq!(read(folder.path()).digest, before);
    fs::write(folder.path().join("a.yaml"), namespace("two")).unwrap();
    assert_ne!(read(folder.path()).digest, before);
}
