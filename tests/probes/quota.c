/* Switches quotas of users on, as quotaon(8) does, gives user 1000 one of 64 KiB, and is then that user and
 * stores more: quota DEVICE FOLDER, where the folder is the top of the device's file system. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <unistd.h>

#define VFSV0 2

static int failed(const char *what) {
    printf("%s: %s\n", what, strerrorname_np(errno));
    return 1;
}

int main(int argc, char **argv) {
    /* The kernel's fs/quota/quotaio_v2.h: magic number, version, two times of grace, flags, blocks; and an
     * empty root of the tree. */
    static uint32_t empty[512] = {0xd9c01f11, 0, 604800, 604800, 0, 2, 0, 0};
    static char much[256 << 10];
    char path[300];
    if (argc != 3) return 2;
    snprintf(path, sizeof path, "%s/aquota.user", argv[2]);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (fd < 0 || write(fd, empty, sizeof empty) != sizeof empty || fsync(fd) || close(fd)) return failed("file");
    if (quotactl(QCMD(Q_QUOTAON, USRQUOTA), argv[1], VFSV0, path)) return failed("on");
    struct dqblk limit = {.dqb_bhardlimit = 64, .dqb_valid = QIF_BLIMITS};
    if (quotactl(QCMD(Q_SETQUOTA, USRQUOTA), argv[1], 1000, (caddr_t)&limit)) return failed("set");
    snprintf(path, sizeof path, "%s/theirs", argv[2]);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    if (fd < 0 || fchown(fd, 1000, 1000) || setuid(1000)) return failed("user");
    ssize_t stored = 0, more;
    while ((more = write(fd, much, 4096)) > 0 && (stored += more) < (ssize_t)sizeof much) {}
    printf("stored %zd KiB: %s\n", stored >> 10, more < 0 ? strerrorname_np(errno) : "ok");
    return 0;
}
