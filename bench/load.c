/* Requests at a constant rate, and what each one took: a load generator without coordinated omission.

   Request i is due at start + i/rate, whether or not others are back, and its time counts from that moment on: what a
   slow server makes later requests wait is in their figures. Connections are kept and used again; where none is free
   another one is opened. One thread, epoll; prints one line a request: microseconds to the first event of a stream (or
   to the answer's first byte), to its last byte, and 1 where it was not a whole answer of status 200.

       cc -O2 -o load bench/load.c
       ./load PORT RATE SECONDS REQUEST-FILE          (the file holds the request's head and body as they are sent)
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MOST 1024
#define HELD 262144

typedef struct {
    int fd, busy, used;
    long due, first;
    char in[HELD + 1];
} Connection;

static Connection *all[MOST];
static int made, epoll, port;
static char *request;
static long length, answered, failed;

static long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static void stop(const char *why) {
    perror(why);
    exit(1);
}

static void open_connection(Connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    int one = 1;
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) stop("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e)) stop("epoll_ctl");
}

static Connection *free_connection(void) {
    for (int i = 0; i < made; i++)
        if (!all[i]->busy) return all[i];
    if (made == MOST) return NULL;
    all[made] = calloc(1, sizeof(Connection));
    open_connection(all[made]);
    return all[made++];
}

static void ended(Connection *c, int right) {
    long last = now_ns();
    printf("%ld %ld %d\n", ((c->first ? c->first : last) - c->due) / 1000, (last - c->due) / 1000, !right);
    answered++;
    failed += !right;
    c->busy = 0;
}

static void send_due(long due) {
    Connection *c = free_connection();
    if (!c) {
        fprintf(stderr, "more than %d requests are under way\n", MOST);
        exit(1);
    }
    c->busy = 1, c->used = 0, c->due = due, c->first = 0;
    if (write(c->fd, request, length) != length) stop("write");
}

/* Whether the whole answer is there: by its length, or by its last chunk. */
static int is_whole(Connection *c) {
    char *body = strstr(c->in, "\r\n\r\n"), *field;
    if (!body) return 0;
    body += 4;
    *(body - 1) = 0;
    field = strcasestr(c->in, "content-length:");
    long wanted = field ? atol(field + 15) : -1;
    int stream = strcasestr(c->in, "text/event-stream") != NULL;
    *(body - 1) = '\n';
    if (!c->first && (!stream || strstr(body, "data:"))) c->first = now_ns();
    if (wanted >= 0) return c->in + c->used - body >= wanted;
    return c->used >= 5 && !memcmp(c->in + c->used - 5, "0\r\n\r\n", 5);
}

static void hear(Connection *c) {
    for (;;) {
        ssize_t got = read(c->fd, c->in + c->used, HELD - c->used);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            if (c->busy) ended(c, 0);
            close(c->fd);
            open_connection(c);
            return;
        }
        if (!c->busy) continue;
        c->used += got;
        c->in[c->used] = 0;
        if (is_whole(c)) ended(c, !strncmp(c->in, "HTTP/1.1 200", 12));
    }
}

static void read_request(const char *path) {
    struct stat s;
    FILE *file = fopen(path, "rb");
    if (!file || stat(path, &s)) stop(path);
    length = s.st_size;
    request = malloc(length);
    if (fread(request, 1, length, file) != (size_t)length) stop(path);
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "load PORT RATE SECONDS REQUEST-FILE\n");
        return 2;
    }
    port = atoi(argv[1]);
    double rate = atof(argv[2]);
    long count = rate * atof(argv[3]), sent = 0;
    read_request(argv[4]);
    prctl(PR_SET_TIMERSLACK, 1);
    epoll = epoll_create1(0);
    long start = now_ns() + 10000000, given_up = start + (long)((count / rate + 30) * 1e9);
    while (answered < count && now_ns() < given_up) {
        long now = now_ns();
        while (sent < count && now >= start + (long)(sent * 1e9 / rate)) {
            send_due(start + (long)(sent * 1e9 / rate));
            sent++;
        }
        long wait = sent < count ? start + (long)(sent * 1e9 / rate) - now_ns() : 100000000;
        struct timespec t = {wait > 0 ? wait / 1000000000 : 0, wait > 0 ? wait % 1000000000 : 0};
        struct epoll_event events[64];
        int got = epoll_pwait2(epoll, events, 64, &t, NULL);
        for (int i = 0; i < got; i++) hear(events[i].data.ptr);
    }
    for (int i = 0; i < made; i++)
        if (all[i]->busy) ended(all[i], 0);
    return 0;
}
