//! Which state of the source is measured: from the variables of a continuous integration, else from the repository around
//! the current directory. Git itself is not needed and not run.

use eventbench_core::host::Host;
use eventbench_core::record::Revision;
use std::path::{Path, PathBuf};

/// The variables of a service: the commit, and the branch in the order of preference. On a pull request GitHub's
/// `GITHUB_REF_NAME` is "12/merge", so the branch that it comes from is asked for first.
const SERVICES: [(&str, &[&str]); 3] = [
    ("GITHUB_SHA", &["GITHUB_HEAD_REF", "GITHUB_REF_NAME"]),
    (
        "CI_COMMIT_SHA",
        &["CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_BRANCH"],
    ),
    ("GIT_COMMIT", &["GIT_BRANCH"]),
];

/// A file of a repository is this long at most; more is none of git's.
const LONGEST_REF: u64 = 4096;
/// `packed-refs` of a repository with very many branches.
const LONGEST_PACKED: u64 = 64 << 20;
/// A reference may name another; git itself follows no more.
const MOST_STEPS: usize = 5;

/// The state of the source, where it is known.
pub fn revision(host: &dyn Host, directory: &Path) -> Option<Revision> {
    from_environment(host).or_else(|| from_repository(directory))
}

fn from_environment(host: &dyn Host) -> Option<Revision> {
    let variable = |name: &str| host.env(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    SERVICES.iter().find_map(|(commit, branches)| {
        Some(Revision {
            commit: variable(commit)?,
            // Jenkins gives the branch with its remote.
            branch: branches
                .iter()
                .find_map(|b| variable(b))
                .map(|b| b.strip_prefix("origin/").unwrap_or(&b).to_owned()),
        })
    })
}

/// The commit that is checked out in the repository that the directory lies in.
pub fn from_repository(directory: &Path) -> Option<Revision> {
    let own = directory.ancestors().find_map(git_directory)?;
    // A worktree has its own HEAD; the branches are those of the repository that it belongs to.
    let common = read(&own.join("commondir"), LONGEST_REF).map_or_else(|| own.clone(), |path| own.join(path.trim()));
    let head = read(&own.join("HEAD"), LONGEST_REF)?;
    let Some(name) = head.trim().strip_prefix("ref:") else {
        return Some(Revision {
            commit: object(head.trim())?,
            branch: None,
        });
    };
    let name = name.trim();
    Some(Revision {
        commit: resolve(&own, &common, name, MOST_STEPS)?,
        branch: Some(name.strip_prefix("refs/heads/").unwrap_or(name).to_owned()),
    })
}

/// `.git` of a directory: itself, or where the file of that name in a worktree or submodule points to.
fn git_directory(directory: &Path) -> Option<PathBuf> {
    let git = directory.join(".git");
    if git.is_dir() {
        return git.join("HEAD").is_file().then_some(git);
    }
    let text = read(&git, LONGEST_REF)?;
    let target = directory.join(text.trim().strip_prefix("gitdir:")?.trim());
    target.join("HEAD").is_file().then_some(target)
}

fn resolve(own: &Path, common: &Path, name: &str, steps: usize) -> Option<String> {
    // What is in the file would else decide which other files are read.
    if name.split('/').any(|part| part.is_empty() || part == "..") {
        return None;
    }
    let loose = [own, common].iter().find_map(|dir| read(&dir.join(name), LONGEST_REF));
    if let Some(text) = loose {
        return match text.trim().strip_prefix("ref:") {
            Some(next) => resolve(own, common, next.trim(), steps.checked_sub(1)?),
            None => object(text.trim()),
        };
    }
    let packed = read(&common.join("packed-refs"), LONGEST_PACKED)?;
    packed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find_map(|(id, of)| (of.trim() == name).then(|| object(id)).flatten())
}

/// The id of an object: 40 hexadecimal digits, or 64 where a repository uses SHA-256.
fn object(text: &str) -> Option<String> {
    let fits = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| text.to_ascii_lowercase())
}

fn read(path: &Path, longest: u64) -> Option<String> {
    let length = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    (length <= longest)
        .then(|| std::fs::read_to_string(path).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbench_testkit::host::VirtualHost;

    const A: &str = "0123456789abcdef0123456789abcdef01234567";
    const B: &str = "89abcdef0123456789abcdef0123456789abcdef";

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn found(dir: &Path) -> Option<(String, Option<String>)> {
        from_repository(dir).map(|r| (r.commit, r.branch))
    }

    #[test]
    fn a_branch_is_followed_to_its_commit_from_below() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), ".git/HEAD", "ref: refs/heads/feature/x\n");
        write(dir.path(), "deep/er/file", "");
        assert_eq!(found(dir.path()), None, "a branch without a commit yet");
        write(dir.path(), ".git/refs/heads/feature/x", &format!("{A}\n"));
        let expected = Some((A.to_owned(), Some("feature/x".to_owned())));
        assert_eq!(found(dir.path()), expected);
        assert_eq!(found(&dir.path().join("deep/er")), expected);
    }

    #[test]
    fn packed_branches_are_found_and_loose_ones_are_newer() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), ".git/HEAD", "ref: refs/heads/main");
        let packed = format!(
            "# pack-refs with: peeled fully-peeled sorted\n{B} refs/heads/mainline\n{A} refs/heads/main\n^{B}\n"
        );
        write(dir.path(), ".git/packed-refs", &packed);
        assert_eq!(found(dir.path()).unwrap().0, A);
        write(dir.path(), ".git/refs/heads/main", B);
        assert_eq!(found(dir.path()).unwrap().0, B);
    }

    #[test]
    fn a_commit_that_is_checked_out_has_no_branch() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), ".git/HEAD", &A.to_uppercase());
        assert_eq!(found(dir.path()), Some((A.to_owned(), None)));
        let long = "ab".repeat(32);
        write(dir.path(), ".git/HEAD", &long);
        assert_eq!(found(dir.path()), Some((long, None)));
    }

    #[test]
    fn a_worktree_has_its_own_head_and_the_repositorys_branches() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "main/.git/HEAD", "ref: refs/heads/main");
        write(dir.path(), "main/.git/packed-refs", &format!("{A} refs/heads/other\n"));
        write(dir.path(), "main/.git/worktrees/tree/HEAD", "ref: refs/heads/other");
        write(dir.path(), "main/.git/worktrees/tree/commondir", "../..\n");
        write(dir.path(), "tree/.git", "gitdir: ../main/.git/worktrees/tree\n");
        assert_eq!(
            found(&dir.path().join("tree")),
            Some((A.to_owned(), Some("other".to_owned())))
        );
    }

    #[test]
    fn what_is_no_repository_gives_nothing() {
        let dir = tempfile::tempdir().unwrap();
        // The temporary directory itself may lie in a repository: this one ends the search.
        for head in ["", "nonsense", "ref: ../../secret", "ref: refs/heads/loop", "ref:"] {
            write(dir.path(), ".git/HEAD", head);
            write(dir.path(), ".git/refs/heads/loop", "ref: refs/heads/loop");
            write(dir.path(), "secret", A);
            assert_eq!(found(dir.path()), None, "{head:?}");
        }
        write(dir.path(), ".git/HEAD", "ref: refs/heads/long");
        write(dir.path(), ".git/refs/heads/long", &A.repeat(1_000));
        assert_eq!(found(dir.path()), None);
    }

    #[test]
    fn the_environment_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), ".git/HEAD", A);
        let of = |variables: &[(&str, &str)]| {
            let host = variables
                .iter()
                .fold(VirtualHost::new(), |host, (k, v)| host.with_env(k, v));
            let revision = revision(&host, dir.path()).unwrap();
            (revision.commit, revision.branch.unwrap_or_default())
        };
        let expect = |commit: &str, branch: &str| (commit.to_owned(), branch.to_owned());
        assert_eq!(of(&[]), expect(A, ""));
        assert_eq!(
            of(&[
                ("GITHUB_SHA", "c1"),
                ("GITHUB_HEAD_REF", ""),
                ("GITHUB_REF_NAME", "main")
            ]),
            expect("c1", "main")
        );
        assert_eq!(
            of(&[
                ("GITHUB_SHA", "c1"),
                ("GITHUB_HEAD_REF", "fix"),
                ("GITHUB_REF_NAME", "12/merge")
            ]),
            expect("c1", "fix")
        );
        assert_eq!(
            of(&[("CI_COMMIT_SHA", "c2"), ("CI_COMMIT_BRANCH", "dev")]),
            expect("c2", "dev")
        );
        assert_eq!(
            of(&[("GIT_COMMIT", "c3"), ("GIT_BRANCH", "origin/rel/1")]),
            expect("c3", "rel/1")
        );
        assert_eq!(of(&[("GITHUB_SHA", ""), ("GIT_BRANCH", "x")]), expect(A, ""));
    }
}
