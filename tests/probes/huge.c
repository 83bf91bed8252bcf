/* Fills so many huge pages of 2 MiB, one after another, and says how many it could: huge COUNT. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE (2 << 20)

static sigjmp_buf back;

static void no_more(int signal) { siglongjmp(back, signal); }

int main(int argc, char **argv) {
    volatile int filled = 0;
    int wanted = argc == 2 ? atoi(argv[1]) : 0;
    signal(SIGBUS, no_more);
    if (!sigsetjmp(back, 1)) {
        while (filled < wanted) {
            int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE;
            char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
            if (page == MAP_FAILED) break;
            *(volatile char *)page = 1;
            filled++;
        }
    }
    printf("filled %d\n", filled);
    return 0;
}
