/* SPDX-License-Identifier: MIT */
/* Packets over the sockets between the daemon and the worker. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gpu/base/packet.h"
#include "runtime/base/log.h"
#include "runtime/base/scm.h"
#include "runtime/base/wire.h"

int rk_packet_send(int fd, const void *packet, size_t len)
{
	ssize_t n;

	do {
		n = send(fd, packet, len, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n >= 0) /* a SEQPACKET goes whole or not at all */
		return 0;
	return errno == ECONNRESET ? -EPIPE : -errno;
}

ssize_t rk_packet_recv(int fd, void *buf, size_t size)
{
	ssize_t n;

	do {
		n = recv(fd, buf, size, MSG_TRUNC);
	} while (n < 0 && errno == EINTR);
	if (n >= 0)
		return n;
	return errno == ECONNRESET ? 0 : -errno;
}

ssize_t rk_packet_recv_fd(int fd, void *buf, size_t size, struct rk_packet_fd *with)
{
	struct rk_packet_fd found = {0};
	int flags = MSG_TRUNC;
	ssize_t n = rk_scm_receive(fd, buf, size, &found.fd, &flags);

	if (n < 0 && n != -ECONNRESET)
		return n;
	if (n >= 0 && flags & MSG_CTRUNC) {
		if (found.fd >= 0) {
			(void)close(found.fd);
			return -EBADMSG;
		}
		found.lost = true;
	}
	*with = found;
	return n < 0 ? 0 : n;
}

void rk_packet_violation(const char *fmt, ...)
{
	char text[RK_WIRE_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	rk_log(RK_LOG_ERROR, "rk-worker: protocol error: %s", text);
	_exit(RK_WIRE_EXIT_PROTOCOL);
}
