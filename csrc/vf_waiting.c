#include "vf_waiting.h"

#include <string.h>

void vf_waiting_init(struct vf_waiting *waiting)
{
	memset(waiting, 0, sizeof *waiting);
	vf_queue_init(&waiting->queue);
}

void vf_waiting_add(struct vf_waiting *waiting, struct vf_call *call)
{
	vf_queue_push(&waiting->queue, call);
	call->spec->group->scored |= call->reads;
	waiting->n++;
}

void vf_waiting_again(struct vf_waiting *waiting, struct vf_call *call)
{
	vf_call_queue_again(call);
	vf_queue_push_front(&waiting->queue, call);
	call->spec->group->scored |= call->reads | call->at_home << 1;
	waiting->n++;
}

void vf_waiting_again_all(struct vf_waiting *waiting, struct vf_call_list *calls)
{
	struct vf_call_list reversed = {0};
	struct vf_call *call;
	while ((call = vf_call_list_pop(calls)))
		vf_call_list_push_front(&reversed, call);
	while ((call = vf_call_list_pop(&reversed)))
		vf_waiting_again(waiting, call);
}

void vf_waiting_hold_up(struct vf_waiting *waiting, struct vf_call *call)
{
	vf_call_queue_again(call);
	vf_call_list_push(&waiting->held_up, call);
}

void vf_waiting_for_memory(struct vf_waiting *waiting, struct vf_call *call)
{
	vf_waiting_hold_up(waiting, call);
	waiting->lacks_memory = 1;
}

void vf_waiting_go_on(struct vf_waiting *waiting)
{
	waiting->lacks_memory = 0;
	vf_waiting_again_all(waiting, &waiting->held_up);
}
