#include "vf_call.h"

#include <stddef.h>

static struct vf_call *next_of(struct vf_call *call)
{
	return (struct vf_call *)call->link.next;
}

void vf_call_list_push(struct vf_call_list *list, struct vf_call *call)
{
	call->link.next = NULL;
	if (list->tail)
		list->tail->link.next = &call->link;
	else
		list->head = call;
	list->tail = call;
	list->n++;
}

void vf_call_list_push_front(struct vf_call_list *list, struct vf_call *call)
{
	call->link.next = list->head ? &list->head->link : NULL;
	list->head = call;
	if (!list->tail)
		list->tail = call;
	list->n++;
}

struct vf_call *vf_call_list_pop(struct vf_call_list *list)
{
	struct vf_call *call = list->head;
	if (!call)
		return NULL;
	list->head = next_of(call);
	if (!list->head)
		list->tail = NULL;
	list->n--;
	return call;
}
