// The load client of `make bench`. It exists because the usual ones are too slow for blobs: bodies are dropped in the
// kernel (MSG_TRUNC), and TLS responses are followed by their record headers without decrypting them, so that one core
// of client can keep one core of any server busy.
//
//     load get  --port P [--tls] [--head] [--range FIRST-LAST] --path /v2/… [--path …] --connections N --seconds S [--warm-up S]
//     load push --port P [--tls] --repository NAME (--file F | --size BYTES [--images]) --connections N
//               (--seconds S | --count N) --seed N
//     both:     [--header 'Name: value'] [--cpu N]
//
// Prints one JSON object. One process, one thread, epoll, HTTP/1.1 with keep-alive, 127.0.0.1 only. The server's
// certificate is not verified here: `run` does that once per server before anything is measured.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_PATHS = 64, HEAD_ROOM = 8192, TAIL = 64, RECORD_OVERHEAD = 17 };
typedef enum { STEP_GET, STEP_POST, STEP_PUT, STEP_MANIFEST } step_t;

typedef struct { const char *memory; size_t length; off_t file_offset; } segment_t;  // memory == NULL: from the file

typedef struct {
    int fd;
    SSL *ssl;
    step_t step;
    bool wants_write, busy;
    // What is being sent.
    segment_t segments[3];
    int segment, segment_count;
    char *out;
    const char *request;   // GET only: the same bytes every time
    size_t request_length;
    // What is being received.
    char in[HEAD_ROOM + 1];
    size_t in_length, known_head;
    uint64_t content_length, remaining;
    bool in_body;
    // TLS responses followed without decrypting: plaintext bytes expected and seen, position inside the record.
    uint64_t expected_plain, plain;
    uint8_t record_head[5];
    uint32_t record_have, record_left;
    // The push under way.
    uint64_t started, number;
    int blob;
    char *blobs[2], digests[2][65], tail[TAIL];
    size_t sizes[2];
} connection_t;

static struct {
    bool push, tls, head, ranged, images;
    int port, connections, cpu, path_count;
    double seconds, warm_up;
    uint64_t size, count, seed;
    const char *paths[MAX_PATHS], *repository, *file;
    char headers[4096];
} options = {.connections = 1, .cpu = -1, .seconds = 1.5, .warm_up = 0.2};

static int poller, body_file = -1;
static const char *body_map;
static EVP_MD_CTX *body_prefix;  // SHA-256 over the file without its last TAIL bytes
static uint64_t window_start, window_end, last_done, bytes_moved, bytes_before, done, started_pushes, pending;
static uint32_t *samples;
static size_t sample_capacity;
static char *scratch;
enum { SCRATCH = 1 << 18 };

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static void refuse(const char *what, const char *answer, size_t length) {
    errno = 0;
    fprintf(stderr, "load: %s: %.*s\n", what, (int)(length > 600 ? 600 : length), answer);
    exit(1);
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void record(uint64_t started, uint64_t at) {
    if (done == sample_capacity) {
        sample_capacity = sample_capacity ? sample_capacity * 2 : 1 << 16;
        if (!(samples = realloc(samples, sample_capacity * sizeof *samples))) die("out of memory");
    }
    uint64_t microseconds = (at - started) / 1000;
    samples[done++] = microseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)microseconds;
}

// MARK: Content. Every push is new content, from the seed and a number; never the same bytes twice.

static void hex_digest(EVP_MD_CTX *context, char *hex) {
    unsigned char raw[32];
    EVP_DigestFinal_ex(context, raw, NULL);
    for (int i = 0; i < 32; i++) sprintf(hex + 2 * i, "%02x", raw[i]);
}

static void digest_of(const char *bytes, size_t length, char *hex) {
    static EVP_MD_CTX *context;
    if (!context) context = EVP_MD_CTX_new();
    EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    EVP_DigestUpdate(context, bytes, length);
    hex_digest(context, hex);
}

static void fill(char *bytes, size_t length, uint64_t number) {
    uint64_t x = (options.seed * 0x9E3779B97F4A7C15u) ^ (number + 1) * 0xBF58476D1CE4E5B9u;
    for (size_t i = 0; i + 8 <= length; i += 8) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memcpy(bytes + i, &x, 8);
    }
}

static void open_body(void) {
    body_file = open(options.file, O_RDONLY);
    struct stat s;
    if (body_file < 0 || fstat(body_file, &s)) die(options.file);
    options.size = (uint64_t)s.st_size;
    if (options.size <= TAIL) die("the file is too small");
    body_map = mmap(NULL, options.size, PROT_READ, MAP_SHARED | MAP_POPULATE, body_file, 0);
    if (body_map == MAP_FAILED) die("mmap");
    body_prefix = EVP_MD_CTX_new();
    EVP_DigestInit_ex(body_prefix, EVP_sha256(), NULL);
    EVP_DigestUpdate(body_prefix, body_map, options.size - TAIL);
}

static void make_content(connection_t *c) {
    if (body_prefix) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_MD_CTX_copy_ex(context, body_prefix);
        fill(c->tail, TAIL, c->number);
        EVP_DigestUpdate(context, c->tail, TAIL);
        hex_digest(context, c->digests[0]);
        EVP_MD_CTX_free(context);
        c->sizes[0] = options.size;
        return;
    }
    fill(c->blobs[0], options.size, c->number);
    c->sizes[0] = options.size;
    digest_of(c->blobs[0], options.size, c->digests[0]);
    if (options.images) {
        c->sizes[1] = (size_t)sprintf(c->blobs[1],
            "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:%s\"]}}",
            c->digests[0]);
        digest_of(c->blobs[1], c->sizes[1], c->digests[1]);
    }
}

// MARK: Sending

static void send_now(connection_t *c);

static void arm(connection_t *c, bool write) {
    if (c->wants_write == write) return;
    c->wants_write = write;
    struct epoll_event e = {.events = write ? EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

static void begin_request(connection_t *c, step_t step, size_t head_length) {
    c->step = step;
    c->segment = 0;
    c->segment_count = 1;
    c->segments[0] = (segment_t){c->out, head_length, 0};
    c->in_length = 0;
    c->in_body = false;
}

static void send_get(connection_t *c) {
    c->step = STEP_GET;
    c->segment = 0;
    c->segment_count = 1;
    c->segments[0] = (segment_t){c->request, c->request_length, 0};
    c->in_length = 0;
    c->in_body = false;
    c->plain = 0;
    c->started = now();
    send_now(c);
}

static void send_post(connection_t *c) {
    int n = snprintf(c->out, HEAD_ROOM, "POST /v2/%s/blobs/uploads/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%sContent-Length: 0\r\n\r\n",
                     options.repository, options.port, options.headers);
    begin_request(c, STEP_POST, (size_t)n);
    send_now(c);
}

static void send_put(connection_t *c, const char *location, size_t length) {
    const char *scheme_end = memmem(location, length, "://", 3);
    if (scheme_end) {
        const char *path = memchr(scheme_end + 3, '/', length - (size_t)(scheme_end + 3 - location));
        if (!path) refuse("no path in Location", location, length);
        length -= (size_t)(path - location);
        location = path;
    }
    size_t size = c->sizes[c->blob];
    int n = snprintf(c->out, HEAD_ROOM,
                     "PUT %.*s%cdigest=sha256%%3A%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s"
                     "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n",
                     (int)length, location, memchr(location, '?', length) ? '&' : '?', c->digests[c->blob], options.port,
                     options.headers, size);
    if (n >= HEAD_ROOM) refuse("Location is too long", location, length);
    begin_request(c, STEP_PUT, (size_t)n);
    if (body_prefix) {
        c->segments[1] = (segment_t){NULL, size - TAIL, 0};
        c->segments[2] = (segment_t){c->tail, TAIL, 0};
        c->segment_count = 3;
    } else {
        memcpy(c->out + n, c->blobs[c->blob], size);
        c->segments[0].length += size;
    }
    send_now(c);
}

static void send_manifest(connection_t *c) {
    static const char *image = "application/vnd.oci.image.";
    char body[1024];
    int size = snprintf(body, sizeof body,
        "{\"schemaVersion\":2,\"mediaType\":\"%smanifest.v1+json\",\"config\":{\"mediaType\":\"%sconfig.v1+json\",\"digest\":\"sha256:%s\",\"size\":%zu},"
        "\"layers\":[{\"mediaType\":\"%slayer.v1.tar\",\"digest\":\"sha256:%s\",\"size\":%zu}]}",
        image, image, c->digests[1], c->sizes[1], image, c->digests[0], c->sizes[0]);
    int n = snprintf(c->out, HEAD_ROOM,
        "PUT /v2/%s/manifests/s%llu-%llu HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%sContent-Type: %smanifest.v1+json\r\nContent-Length: %d\r\n\r\n%s",
        options.repository, (unsigned long long)options.seed, (unsigned long long)c->number, options.port, options.headers, image, size, body);
    begin_request(c, STEP_MANIFEST, (size_t)n);
    send_now(c);
}

static void begin_push(connection_t *c) {
    c->busy = false;
    bool enough = options.count ? started_pushes >= options.count : now() >= window_end;
    if (enough) return;
    c->busy = true;
    pending++;
    c->number = started_pushes++;
    c->blob = 0;
    make_content(c);
    c->started = now();
    send_post(c);
}

static ssize_t send_some(connection_t *c, segment_t *s) {
    bool more = c->segment + 1 < c->segment_count;
    if (c->ssl) {
        const char *from = s->memory ? s->memory : body_map + s->file_offset;
        ERR_clear_error();
        int n = SSL_write(c->ssl, from, (int)(s->length > (1 << 20) ? (1 << 20) : s->length));
        if (n > 0) return n;
        int why = SSL_get_error(c->ssl, n);
        if (why == SSL_ERROR_WANT_WRITE) return 0;
        if (why == SSL_ERROR_SYSCALL) die("SSL_write");
        refuse("SSL_write failed", "", 0);
    }
    ssize_t n;
    if (s->memory) {
        n = send(c->fd, s->memory, s->length, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    } else {
        off_t at = s->file_offset;
        n = sendfile(c->fd, body_file, &at, s->length);
    }
    if (n < 0 && errno == EAGAIN) return 0;
    if (n < 0 && (n = recv(c->fd, c->in, HEAD_ROOM, 0)) > 0) refuse("the answer came before the request was sent", c->in, (size_t)n);
    if (n < 0) die("send");
    return n;
}

static void send_now(connection_t *c) {
    while (c->segment < c->segment_count) {
        segment_t *s = &c->segments[c->segment];
        ssize_t n = send_some(c, s);
        if (n == 0) return arm(c, true);
        if (s->memory) s->memory += n; else s->file_offset += n;
        s->length -= (size_t)n;
        if (s->length == 0) c->segment++;
    }
    arm(c, false);
}

// MARK: Receiving

static const char *header_value(connection_t *c, size_t head, const char *name, size_t *length) {
    size_t wanted = strlen(name);
    for (char *line = memchr(c->in, '\n', head); line; line = memchr(line, '\n', head - (size_t)(line - c->in))) {
        line++;
        char *end = memchr(line, '\r', head - (size_t)(line - c->in));
        if (!end || end == line) break;
        if ((size_t)(end - line) > wanted && line[wanted] == ':' && !strncasecmp(line, name, wanted)) {
            char *value = line + wanted + 1;
            while (*value == ' ') value++;
            *length = (size_t)(end - value);
            return value;
        }
    }
    return NULL;
}

static bool status_is_right(connection_t *c) {
    const char *wanted = c->step == STEP_GET ? (options.ranged ? "206" : "200") : c->step == STEP_POST ? "202" : "201";
    return !memcmp(c->in, "HTTP/1.1 ", 9) && !memcmp(c->in + 9, wanted, 3);
}

// Length of the head in `in`, 0 when there is more to come. Sets the content length.
static size_t parse_head(connection_t *c) {
    if (c->known_head && c->in_length >= c->known_head && !memcmp(c->in + c->known_head - 4, "\r\n\r\n", 4) && status_is_right(c))
        return c->known_head;
    char *end = memmem(c->in, c->in_length, "\r\n\r\n", 4);
    if (!end) {
        if (c->in_length >= HEAD_ROOM) refuse("response head is too long", c->in, c->in_length);
        return 0;
    }
    size_t head = (size_t)(end - c->in) + 4, length;
    if (!status_is_right(c)) refuse("unexpected answer", c->in, c->in_length);
    const char *value = header_value(c, head, "content-length", &length);
    if (!value && !options.head) refuse("no Content-Length", c->in, head);
    c->content_length = value && !options.head ? strtoull(value, NULL, 10) : 0;
    if (c->step == STEP_GET) c->known_head = head;
    return head;
}

static void finished(connection_t *c) {
    uint64_t at = now();
    size_t length;
    switch (c->step) {
    case STEP_GET:
        if (c->started >= window_start && at < window_end) record(c->started, at);
        return send_get(c);
    case STEP_POST: {
        const char *location = header_value(c, c->in_length, "location", &length);
        if (!location) refuse("no Location", c->in, c->in_length);
        char copy[HEAD_ROOM];
        memcpy(copy, location, length);
        return send_put(c, copy, length);
    }
    case STEP_PUT:
        bytes_moved += c->sizes[c->blob];
        if (options.images && c->blob == 0) {
            c->blob = 1;
            return send_post(c);
        }
        if (options.images) return send_manifest(c);
        break;
    case STEP_MANIFEST: break;
    }
    record(c->started, at);
    last_done = at;
    pending--;
    begin_push(c);
}

static ssize_t receive(connection_t *c, void *buffer, size_t length, int flags) {
    if (c->ssl) {
        ERR_clear_error();
        int n = SSL_read(c->ssl, buffer, (int)length);
        if (n > 0) return n;
        int why = SSL_get_error(c->ssl, n);
        if (why == SSL_ERROR_WANT_READ) return -1;
        refuse("the server closed the connection", c->in, c->in_length);
    }
    ssize_t n = syscall(SYS_recvfrom, c->fd, buffer, length, flags, NULL, NULL);
    if (n < 0 && errno == EAGAIN) return -1;
    if (n < 0) die("recv");
    if (n == 0) refuse("the server closed the connection", c->in, c->in_length);
    return n;
}

static void count_received(size_t n) {
    if (!options.push) bytes_moved += n;  // from 0 again when the window opens
}

static void receive_plain(connection_t *c) {
    for (;;) {
        if (!c->in_body) {
            ssize_t n = receive(c, c->in + c->in_length, HEAD_ROOM - c->in_length, 0);
            if (n < 0) return;
            c->in_length += (size_t)n;
            size_t head = parse_head(c);
            if (!head) continue;
            size_t extra = c->in_length - head;
            if (extra > c->content_length) refuse("more bytes than promised", c->in, c->in_length);
            c->remaining = c->content_length - extra;
            c->in_length = head;
            c->in_body = true;
            count_received(extra);
        } else {
            size_t length = c->remaining > (1u << 30) ? (1u << 30) : (size_t)c->remaining;
            if (c->ssl && length > SCRATCH) length = SCRATCH;
            ssize_t n = receive(c, scratch, length, MSG_TRUNC);
            if (n < 0) return;
            c->remaining -= (size_t)n;
            count_received((size_t)n);
        }
        if (c->in_body && c->remaining == 0) return finished(c);
    }
}

// Follows TLS 1.3 records by their five-byte heads. A response of another length (an error, say) is noticed because
// the sum does not come out even.
static void receive_records(connection_t *c) {
    ssize_t n = syscall(SYS_recvfrom, c->fd, scratch, SCRATCH, 0, NULL, NULL);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) refuse("the server closed the connection", "", 0);
    for (ssize_t at = 0; at < n;) {
        if (c->record_left == 0) {
            while (c->record_have < 5 && at < n) c->record_head[c->record_have++] = (uint8_t)scratch[at++];
            if (c->record_have < 5) return;
            c->record_left = (uint32_t)c->record_head[3] << 8 | c->record_head[4];
            if (c->record_head[0] != 23 || c->record_left < RECORD_OVERHEAD) refuse("not a TLS 1.3 record of data", "", 0);
            c->plain += c->record_left - RECORD_OVERHEAD;
            count_received(c->record_left - RECORD_OVERHEAD);
        }
        ssize_t step = n - at < (ssize_t)c->record_left ? n - at : (ssize_t)c->record_left;
        at += step;
        c->record_left -= (uint32_t)step;
        if (c->record_left > 0) return;
        c->record_have = 0;
        if (c->plain > c->expected_plain) refuse("a response of another length", "", 0);
        if (c->plain == c->expected_plain) {
            if (at != n) refuse("bytes after the response", "", 0);
            return finished(c);
        }
    }
}

// The first response of a TLS connection is read up to the end of its head, to learn how long all of them are.
static void learn(connection_t *c) {
    size_t head = 0, total = 0;
    do {
        int n = SSL_read(c->ssl, scratch, SCRATCH);
        if (n <= 0) refuse("the server closed the connection", c->in, c->in_length);
        total += (size_t)n;
        size_t take = (size_t)n < HEAD_ROOM - c->in_length ? (size_t)n : HEAD_ROOM - c->in_length;
        memcpy(c->in + c->in_length, scratch, take);
        c->in_length += take;
    } while (!(head = parse_head(c)) || SSL_pending(c->ssl) > 0);
    c->expected_plain = head + c->content_length;
    c->plain = total;
    count_received(total);
}

static void readable(connection_t *c) {
    if (c->ssl && !options.push) receive_records(c);
    else receive_plain(c);
}

// MARK: Set-up and result

static void open_connection(connection_t *c, SSL_CTX *context, const char *path) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (context) {
        c->ssl = SSL_new(context);
        SSL_set_fd(c->ssl, c->fd);
        if (SSL_connect(c->ssl) != 1) refuse("TLS handshake failed", ERR_reason_error_string(ERR_peek_error()) ?: "", 100);
    }
    size_t body_room = options.push && !options.file ? options.size : 0;
    c->out = malloc(HEAD_ROOM + body_room);
    for (int i = 0; i < 2 && options.push; i++) c->blobs[i] = malloc((options.file ? 0 : options.size) + 512);
    if (!options.push) {
        c->request = c->out;
        c->request_length = (size_t)snprintf(c->out, HEAD_ROOM, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n",
                                             options.head ? "HEAD" : "GET", path, options.port, options.headers);
        if (context) {
            c->step = STEP_GET;
            c->started = now();
            if (SSL_write(c->ssl, c->request, (int)c->request_length) <= 0) die("SSL_write");
            learn(c);
        }
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(double elapsed, double cpu) {
    qsort(samples, done, sizeof *samples, ascending);
    double p50 = done ? samples[done / 2] / 1e3 : 0, p99 = done ? samples[done * 99 / 100] / 1e3 : 0;
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"rate\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"bytes\": %llu, "
           "\"total_bytes\": %llu, \"bytes_per_second\": %.0f, \"client_cpu_seconds\": %.4f}\n",
           (unsigned long long)done, elapsed, (double)done / elapsed, p50, p99, (unsigned long long)bytes_moved,
           (unsigned long long)(bytes_before + bytes_moved), (double)bytes_moved / elapsed, cpu);
}

static void parse_options(int count, char **arguments) {
    enum { PORT = 1, TLS, HEAD, RANGE, PATH, CONNECTIONS, SECONDS, WARM_UP, REPOSITORY, FILE_, SIZE, IMAGES, COUNT, SEED, HEADER, CPU };
    static const struct option known[] = {
        {"port", 1, 0, PORT}, {"tls", 0, 0, TLS}, {"head", 0, 0, HEAD}, {"range", 1, 0, RANGE},
        {"path", 1, 0, PATH}, {"connections", 1, 0, CONNECTIONS},
        {"seconds", 1, 0, SECONDS}, {"warm-up", 1, 0, WARM_UP}, {"repository", 1, 0, REPOSITORY}, {"file", 1, 0, FILE_},
        {"size", 1, 0, SIZE}, {"images", 0, 0, IMAGES}, {"count", 1, 0, COUNT}, {"seed", 1, 0, SEED}, {"header", 1, 0, HEADER},
        {"cpu", 1, 0, CPU}, {0}};
    errno = 0;
    if (count < 2 || (strcmp(arguments[1], "get") && strcmp(arguments[1], "push"))) die("usage: load get|push --port P … (see load.c)");
    options.push = !strcmp(arguments[1], "push");
    optind = 2;
    for (int o; (o = getopt_long(count, arguments, "", known, NULL)) != -1;) {
        size_t used = strlen(options.headers);
        switch (o) {
        case PORT: options.port = atoi(optarg); break;
        case TLS: options.tls = true; break;
        case HEAD: options.head = true; break;
        case RANGE:
            if (used + strlen(optarg) + sizeof "Range: bytes=\r\n" > sizeof options.headers) die("headers are too long");
            sprintf(options.headers + used, "Range: bytes=%s\r\n", optarg);
            options.ranged = true;
            break;
        case PATH: if (options.path_count == MAX_PATHS) die("too many paths"); options.paths[options.path_count++] = optarg; break;
        case CONNECTIONS: options.connections = atoi(optarg); break;
        case SECONDS: options.seconds = atof(optarg); break;
        case WARM_UP: options.warm_up = atof(optarg); break;
        case REPOSITORY: options.repository = optarg; break;
        case FILE_: options.file = optarg; break;
        case SIZE: options.size = strtoull(optarg, NULL, 10); break;
        case IMAGES: options.images = true; break;
        case COUNT: options.count = strtoull(optarg, NULL, 10); break;
        case SEED: options.seed = strtoull(optarg, NULL, 10); break;
        case HEADER:
            if (used + strlen(optarg) + 3 > sizeof options.headers) die("headers are too long");
            strcat(strcat(options.headers, optarg), "\r\n");
            break;
        case CPU: options.cpu = atoi(optarg); break;
        default: exit(2);
        }
    }
    if (!options.port || options.connections < 1) die("--port and --connections are needed");
    if (options.push ? !options.repository || !(options.file || options.size) : !options.path_count) die("nothing to do: see load.c");
}

int main(int count, char **arguments) {
    parse_options(count, arguments);
    signal(SIGPIPE, SIG_IGN);
    if (options.cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)options.cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set)) die("sched_setaffinity");
    }
    SSL_CTX *context = NULL;
    if (options.tls) {
        // One cipher suite for every server, or the servers' preferences would be compared instead of the servers.
        context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
        SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    scratch = malloc(SCRATCH);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (options.file) open_body();
    connection_t *all = calloc((size_t)options.connections, sizeof *all);
    if (!scratch || !all) die("out of memory");
    for (int i = 0; i < options.connections; i++)
        open_connection(&all[i], context, options.path_count ? options.paths[i % options.path_count] : "");

    uint64_t begin = now();
    double cpu_before = cpu_seconds();
    window_start = options.push ? begin : begin + (uint64_t)(options.warm_up * 1e9);
    window_end = window_start + (uint64_t)(options.seconds * 1e9);
    bool open = options.push;
    for (int i = 0; i < options.connections; i++) {
        if (options.push) begin_push(&all[i]);
        else if (!all[i].ssl) send_get(&all[i]);
        else if (all[i].plain == all[i].expected_plain) finished(&all[i]);
    }
    struct epoll_event events[512];
    for (;;) {
        int n = epoll_wait(poller, events, 512, options.push ? 30000 : 50);
        uint64_t at = now();
        if (options.push && n == 0) refuse("no answer for 30 seconds", "", 0);
        if (!open && at >= window_start) {
            open = true;
            window_start = at;
            window_end = at + (uint64_t)(options.seconds * 1e9);
            bytes_before = bytes_moved;
            bytes_moved = 0;
            cpu_before = cpu_seconds();
        }
        if (!options.push && at >= window_end) {
            last_done = at;
            break;
        }
        for (int i = 0; i < n; i++) {
            connection_t *c = events[i].data.ptr;
            if (c->wants_write) send_now(c); else readable(c);
        }
        if (options.push && pending == 0) break;
    }
    report((double)(last_done - window_start) / 1e9, cpu_seconds() - cpu_before);
    return 0;
}
