"""One container's life through proxmoxer, as its own documentation uses it.

usage: proxmoxer_basic.py ticket|token PORT ROOT_TOKEN
"""

import sys
import time

import urllib3
from proxmoxer import ProxmoxAPI, ResourceException

urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # self-signed, on loopback


def login(how, port, root_token):
    if how == "ticket":
        return ProxmoxAPI(
            "127.0.0.1", port=port, user="joe@pve", password="secret-word", verify_ssl=False
        )
    token_id, value = root_token.split("=", 1)
    user, name = token_id.split("!", 1)
    return ProxmoxAPI(
        "127.0.0.1", port=port, user=user, token_name=name, token_value=value, verify_ssl=False
    )


def wait(node, upid):
    for _ in range(600):
        status = node.tasks(upid).status.get()
        if status["status"] == "stopped":
            assert status["exitstatus"] == "OK", (status, node.tasks(upid).log.get())
            return
        time.sleep(0.1)
    raise AssertionError(f"{upid} does not end")


def main(how, port, root_token):
    api = login(how, int(port), root_token)
    assert api.version.get()["version"], "no version"
    node = api.nodes(api.nodes.get()[0]["node"])
    vmid = int(api.cluster.nextid.get())

    wait(node, node.lxc.create(
        vmid=vmid,
        ostemplate="local:vztmpl/busybox.tar.gz",
        rootfs="local:0",
        hostname="from-python",
        memory=64,
        unprivileged=1,
        entrypoint="/bin/sleep 1000",
    ))
    guest = node.lxc(vmid)
    assert guest.config.get()["hostname"] == "from-python"
    assert [row["vmid"] for row in node.lxc.get()] == [vmid]

    wait(node, guest.status.start.post())
    current = guest.status.current.get()
    assert current["status"] == "running" and current["name"] == "from-python", current
    try:
        guest.status.start.post()
    except ResourceException as err:
        assert err.status_code == 500 and "already running" in str(err), err
    else:
        raise AssertionError("it started twice")

    wait(node, guest.status.stop.post())
    assert guest.status.current.get()["status"] == "stopped"
    guest.config.put(memory=96)
    assert guest.config.get()["memory"] == 96
    wait(node, guest.delete())
    assert node.lxc.get() == []

    try:
        guest.config.get()
    except ResourceException as err:
        assert "does not exist" in str(err), err
    else:
        raise AssertionError("it is still there")
    print(f"proxmoxer: all done with a {how}")


if __name__ == "__main__":
    main(*sys.argv[1:])
