/* SPDX-License-Identifier: MIT */
/* rkcall: the sentence behind an errno. */
#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/client/rkcall.h"

/* --- events --- */

/* What an event must have to be the one that is looked for. */
struct wanted {
	const char *kernel;
	json_int_t pid;
};

static bool is_text(const json_t *event, const char *member, const char *text)
{
	const char *is = json_string_value(json_object_get(event, member));

	return is && strcmp(is, text) == 0;
}

static bool is_ours(const json_t *event, const struct wanted *w)
{
	return json_integer_value(json_object_get(event, "pid")) == w->pid &&
	       is_text(event, "kernel", w->kernel);
}

/* Our message was cancelled with others. */
static bool is_cancel(const json_t *event, const struct wanted *w)
{
	const json_t *message;
	size_t i;

	if (!is_text(event, "event", "MessagesCancelled"))
		return false;
	json_array_foreach (json_object_get(event, "messages"), i, message)
		if (is_ours(message, w))
			return true;
	return false;
}

static bool is_fault(const json_t *event, const struct wanted *w)
{
	(void)w;
	return is_text(event, "event", "Failed");
}

/*
 * The member @member of the newest event that @is, or NULL; owned by the caller. An event that
 * cannot be had is as one that is not there.
 */
static char *newest_event(const struct rkcall_mount *m,
			  bool (*is)(const json_t *event, const struct wanted *w),
			  const struct wanted *w, const char *member)
{
	char *text = rkcall_value(m, NULL, "events");
	char *line, *found = NULL;
	size_t len = text ? strlen(text) : 0;

	while (len && !found) {
		json_t *event;
		const char *value;

		line = memrchr(text, '\n', len);
		line = line ? line + 1 : text;
		event = json_loads(line, 0, NULL);
		value = json_string_value(json_object_get(event, member));
		if (event && value && is(event, w))
			found = strdup(value);
		json_decref(event);
		len = line == text ? 0 : (size_t)(line - 1 - text);
		text[len] = '\0';
	}
	free(text);
	return found;
}

/* --- a call that failed --- */

/* What to do where the runtime takes no calls. %1$s: the mount. */
static const struct advice {
	const char *state, *text;
} advices[] = {
	{"Created", "echo start >%1$s/control"},
	{"Starting", "cat %1$s/wait/running waits until it does"},
	{"Running", "it does again by now"},
	{"Draining", "echo resume >%1$s/control takes the drain back"},
	{"Stopped", "echo reset >%1$s/control && echo start >%1$s/control"},
	{"Failed", "echo reset >%1$s/control && echo start >%1$s/control"},
};

static int why_shutdown(const struct rkcall_mount *m, struct rk_error *err)
{
	char *state = rkcall_value(m, NULL, "state");
	char *reason = NULL, *text = NULL;

	for (size_t i = 0; state && i < sizeof(advices) / sizeof(advices[0]); i++)
		if (strcmp(advices[i].state, state) == 0 &&
		    asprintf(&text, advices[i].text, m->dir) < 0)
			text = NULL;
	if (state && strcmp(state, "Failed") == 0)
		reason = newest_event(m, is_fault, NULL, "reason");
	rk_error_set(err, ESHUTDOWN, "the runtime takes no calls: it is %s%s%s%s; %s",
		     state ? state : "not to be asked", reason ? " (" : "", reason ? reason : "",
		     reason ? ")" : "", text ? text : "see rkfs(5)");
	free(state);
	free(reason);
	free(text);
	return -ESHUTDOWN;
}

static int why_cancelled(const struct rkcall_mount *m, const struct wanted *w, struct rk_error *err)
{
	char *why = newest_event(m, is_cancel, w, "why");

	if (why)
		rk_error_set(err, ECANCELED, "cancelled: %s", why);
	else
		rk_error_set(
			err, ECANCELED,
			"cancelled: somebody removed it from inflight, or the runtime stopped");
	free(why);
	return -ECANCELED;
}

const char *rkcall_without_kernel(const char *sentence, const char *kernel)
{
	size_t len = strlen(kernel);

	if (strncmp(sentence, kernel, len) == 0 && strncmp(sentence + len, ": ", 2) == 0)
		return sentence + len + 2;
	return sentence;
}

/* What the call file told, or, where it told nothing, what the kernel shows to all. */
static int why_from_kernel(const struct rkcall_mount *m, const char *kernel, int code,
			   const char *told, struct rk_error *err)
{
	char *last = told ? NULL : rkcall_value(m, kernel, "last_error");
	char *enabled = rkcall_value(m, kernel, "enable");

	if (code == ENODEV && enabled && strcmp(enabled, "0") == 0)
		rk_error_set(err, code, "it is disabled: echo 1 >%s/kernels/%s/enable", m->dir,
			     kernel);
	else if (code == ENODEV && !enabled)
		rk_error_set(err, code, "it has been removed");
	else if (told)
		rk_error_set(err, code, "%s", rkcall_without_kernel(told, kernel));
	else if (last && strcmp(last, "none") != 0)
		rk_error_set(err, code, "%s; its last error: %s", strerror(code),
			     rkcall_without_kernel(last, kernel));
	else
		rk_error_set(err, code, "%m");
	free(last);
	free(enabled);
	return -code;
}

int rkcall_why(const struct rkcall_mount *m, const char *kernel, int code, const char *told,
	       struct rk_error *err)
{
	switch (code) {
	case ESHUTDOWN:
		return why_shutdown(m, err);
	case ECANCELED:
		return why_cancelled(m, &(struct wanted){kernel, getpid()}, err);
	case ENOTCONN:
	case ECONNABORTED:
		return rk_error_set(err, code, "the daemon of %s has died", m->dir);
	default:
		return why_from_kernel(m, kernel, code, told, err);
	}
}

/* --- a call file that cannot be opened --- */

static int why_denied(const struct rkcall_mount *m, const char *path, struct rk_error *err)
{
	const struct passwd *user;
	const struct group *group;
	struct stat st;

	if (fstatat(m->fd, path, &st, 0))
		return rk_error_set(err, EACCES, "permission denied");
	user = getpwuid(st.st_uid);
	group = getgrgid(st.st_gid);
	if (st.st_mode & 0060 && group)
		return rk_error_set(err, EACCES,
				    "permission denied: only %s and the group %s may call kernels",
				    user ? user->pw_name : "its owner", group->gr_name);
	return rk_error_set(err, EACCES, "permission denied: only %s may call kernels",
			    user ? user->pw_name : "its owner");
}

int rkcall_no_kernel(const struct rkcall_mount *m, const char *kernel, struct rk_error *err)
{
	struct rkcall_kernels k;
	const char *near[RKCALL_NEAR];
	char list[RK_ERROR_MAX] = "";
	size_t count, len = 0;

	if (rkcall_kernels_read(&k, m, NULL))
		return rk_error_set(err, ENOENT, "there is no such kernel");
	count = rkcall_near(&k, kernel, near);
	for (size_t i = 0; i < count && len < sizeof(list); i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s", i ? " or " : "",
					near[i]);
	rkcall_kernels_free(&k);
	if (count)
		return rk_error_set(err, ENOENT, "there is no such kernel; did you mean %s?", list);
	return rk_error_set(err, ENOENT, "there is no such kernel; rkcall --list shows all");
}

int rkcall_why_not_open(const struct rkcall_mount *m, const char *kernel,
			const struct rkcall_encoding *encoding, int code, struct rk_error *err)
{
	char path[PATH_MAX], encodings[64];
	struct stat st;
	int n = snprintf(path, sizeof(path), "kernels/%s", kernel);

	if (n >= (int)sizeof(path) || (code == ENOENT && fstatat(m->fd, path, &st, 0)))
		return rkcall_no_kernel(m, kernel, err);
	if (code == ENOENT) {
		rkcall_encodings_print(m, kernel, encodings, sizeof(encodings));
		return rk_error_set(err, code, "it has no %s; its encodings: %s", encoding->file,
				    encodings);
	}
	if (code == EACCES && rkcall_call_path(path, kernel, encoding))
		return why_denied(m, path, err);
	return rkcall_why(m, kernel, code, NULL, err);
}
