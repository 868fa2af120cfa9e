/* SPDX-License-Identifier: MIT */
#include "fs/base/shared_text.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/base/thread.h"

int rkfs_shared_texts_init(struct rkfs_shared_texts *all)
{
	LIST_INIT(&all->texts);
	return -pthread_mutex_init(&all->lock, NULL);
}

void rkfs_shared_texts_destroy(struct rkfs_shared_texts *all)
{
	pthread_mutex_destroy(&all->lock);
}

struct rkfs_shared_text *rkfs_shared_text_of(struct rkfs_shared_texts *all, char *data, size_t len)
{
	struct rkfs_shared_text *text;
	char *fitted;

	RK_GUARD(&all->lock);
	LIST_FOREACH(text, &all->texts, link)
	{
		if (text->len == len && memcmp(text->data, data, len) == 0) {
			text->refs++;
			free(data);
			return text;
		}
	}
	text = malloc(sizeof(*text));
	if (!text)
		return NULL;
	fitted = realloc(data, len); /* it was made to grow, and will not any more */
	*text = (struct rkfs_shared_text){
		.all = all, .refs = 1, .data = fitted ? fitted : data, .len = len};
	LIST_INSERT_HEAD(&all->texts, text, link);
	return text;
}

void rkfs_shared_text_unref(struct rkfs_shared_text *text)
{
	if (!text)
		return;
	RK_GUARD(&text->all->lock);
	if (--text->refs)
		return;
	LIST_REMOVE(text, link);
	free(text->data);
	free(text);
}
