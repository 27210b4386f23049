"""File systems by type: whether sqlite can rely on the locks of one."""

from __future__ import annotations

from pathlib import Path

import psutil

#: File systems of one machine's own disks and memory.
_LOCAL = frozenset(
    {
        "apfs", "aufs", "bcachefs", "btrfs", "devtmpfs", "ecryptfs", "exfat", "ext2", "ext3",
        "ext4", "f2fs", "fuse-overlayfs", "fuseblk", "gocryptfs", "hfs", "hfsplus", "jfs",
        "mergerfs", "msdos", "nilfs2", "ntfs", "ntfs-3g", "ntfs3", "overlay", "ramfs", "reiserfs",
        "rootfs", "tmpfs", "ufs", "vfat", "xfs", "zfs",
    }
)  # fmt: skip
#: First letters of file systems that several machines share, and of buckets that look like one. On
#: none do sqlite's locks hold for all who write: two of them corrupt a database.
_SHARED = (
    "9p", "afp", "afs", "beegfs", "blobfuse", "ceph", "cifs", "coda", "curlftpfs", "cvfs", "daos",
    "davfs", "dfuse", "gcsfuse", "geesefs", "gfs", "glusterfs", "goofys", "gpfs", "hdfs", "juicefs",
    "lizardfs", "lustre", "mfs", "mmfs", "moosefs", "mountpoint", "nfs", "ocfs2", "orangefs",
    "panfs", "pvfs", "quobyte", "rclone", "s3", "saunafs", "seaweedfs", "smb", "sshfs", "virtiofs",
    "webdav", "wekafs",
)  # fmt: skip
_OF_USER_SPACE = "fuse"


def type_of(path: Path) -> str:
    """The type of the file system that holds a path, whether it exists or not: `ext4`, `nfs4`.

    It is empty where it cannot be told.
    """
    place = path.resolve()
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    return next((mounts[parent] for parent in place.parents if parent in mounts), "")


def is_shared(kind: str) -> bool:
    """Whether other machines may write to a file system of a type, past the locks of this one."""
    # Clients of buckets (Mountpoint for S3, BlobFuse) name nothing but the interface.
    return kind == _OF_USER_SPACE or (_name(kind) not in _LOCAL and _name(kind).startswith(_SHARED))


def is_unknown(kind: str) -> bool:
    """Whether nothing is known of a type that has a name."""
    return bool(kind) and _name(kind) not in _LOCAL and not is_shared(kind)


def _name(kind: str) -> str:
    return kind.lower().removeprefix(f"{_OF_USER_SPACE}.")
