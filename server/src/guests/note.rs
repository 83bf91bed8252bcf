//! Notes of work under way: one file a guest, written before the work begins and removed at its end.
//! What a daemon finds of them at its start is what a killed one left behind.

use std::io;
use std::path::PathBuf;

use openapi::Vmid;
use pve_integration::atomic;
use pve_integration::layout::Root;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) trait Note: Default + Serialize + DeserializeOwned {
    /// Below the daemon's state directory.
    const FOLDER: &'static str;

    fn write(&self, root: &Root, vmid: Vmid) -> io::Result<()> {
        let folder = folder::<Self>(root);
        fs_err::create_dir_all(&folder)?;
        atomic::write(&folder.join(vmid.to_string()), 0o600, &serde_json::to_vec(self)?)
    }

    fn remove(root: &Root, vmid: Vmid) -> io::Result<()> {
        match fs_err::remove_file(folder::<Self>(root).join(vmid.to_string())) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Every one there is. One that was never written whole says nothing: its work had not begun.
    fn all(root: &Root) -> io::Result<Vec<(Vmid, Self)>> {
        let names = match fs_err::read_dir(folder::<Self>(root)) {
            Ok(names) => names,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(err) => return Err(err),
        };
        let mut found = Vec::new();
        for name in names {
            let name = name?;
            let vmid = name.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(vmid) = vmid {
                let bytes = fs_err::read(name.path())?;
                found.push((vmid, serde_json::from_slice(&bytes).unwrap_or_default()));
            }
        }
        Ok(found)
    }
}

fn folder<N: Note>(root: &Root) -> PathBuf {
    root.state_dir().join(N::FOLDER)
}
