// Names of RDS Proxy's that lead to this machine. Loaded into the function before the C library, by LD_PRELOAD.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    if (name != NULL && strstr(name, ".proxy-") != NULL) {
        name = "127.0.0.1";
    }
    return real(name, service, hints, found);
}
