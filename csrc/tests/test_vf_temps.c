/* Calls wait for temporary files that are being made, and fail for those that never will be. */

#include "vf_temps.h"

#include "check.h"
#include "faults.h"
#include "vf_loop.h"

static struct vf_loop loop;
static struct vf_group group;
static struct vf_spec spec;
static struct vf_temp temps[2];
static struct {
	struct vf_file_list files;
	struct vf_file items[2];
} makes, reads;
static struct vf_call maker, again, reader;

/* `maker` makes the first file, `reader` reads both. */
static void begin(void)
{
	CHECK(!vf_loop_init(&loop));
	group = (struct vf_group){0};
	spec = (struct vf_spec){.group = &group};
	for (int i = 0; i < 2; i++)
		temps[i] = (struct vf_temp){.state = VF_TEMP_THERE};
	makes.files.n = 1;
	makes.files.items[0] = (struct vf_file){.kind = VF_FILE_MADE, .temp = &temps[0]};
	reads.files.n = 2;
	for (int i = 0; i < 2; i++)
		reads.files.items[i] = (struct vf_file){.kind = VF_FILE_READ, .temp = &temps[i]};
	again = (struct vf_call){.spec = &spec, .files = &makes.files, .again = &again};
	maker = (struct vf_call){
			.spec = &spec, .files = &makes.files, .again = &again, .number = 17};
	reader = (struct vf_call){.spec = &spec, .files = &reads.files};
	vf_temps_begin(&loop.temps, &maker);
	vf_temps_begin(&loop.temps, &reader);
	CHECK(temps[0].state == VF_TEMP_MAKING && temps[0].n_readers == 1);
	CHECK(temps[0].maker == &again && again.number == 17); /* as the event log knows it */
	CHECK(vf_call_send(&reader));
}

static void end(void)
{
	for (int i = 0; i < 2; i++)
		vf_temp_free(&temps[i]);
	vf_loop_free(&loop);
}

static enum vf_temps_verdict park(void)
{
	const struct vf_file *file;
	enum vf_temps_verdict verdict = vf_temps_park(&reader, &file);
	CHECK(verdict != VF_TEMPS_FAILED || file == &reads.files.items[0]);
	return verdict;
}

static void test_a_reader_goes_when_its_file_is_there(void)
{
	begin();
	CHECK(park() == VF_TEMPS_WAIT && temps[0].parked.n == 1 && !loop.waiting.n);
	const struct vf_worker *worker = (const struct vf_worker *)&loop;
	vf_temp_hold(&temps[0], worker, "name");
	vf_temps_end(&loop.temps, &maker, 0);
	CHECK(temps[0].state == VF_TEMP_THERE && !temps[0].parked.n && loop.waiting.n == 1);
	CHECK(vf_call_send(&reader) && park() == VF_TEMPS_GO);
	CHECK(VF_GET(&loop.counters, temps_made) == 1);

	/* It is lost with its last worker. */
	vf_temps_drop(&loop.temps, &temps[0], worker);
	CHECK(temps[0].state == VF_TEMP_LOST && loop.temps.lost == &temps[0]);
	end();
}

static void test_a_reader_fails_with_the_call_that_makes_its_file(void)
{
	begin();
	CHECK(park() == VF_TEMPS_WAIT);
	vf_temps_end(&loop.temps, &maker, 1);
	CHECK(temps[0].state == VF_TEMP_FAILED && loop.waiting.n == 1);
	CHECK(vf_call_send(&reader) && park() == VF_TEMPS_FAILED);
	end();
}

static void test_a_call_that_is_cancelled_while_it_waits_never_runs(void)
{
	begin();
	CHECK(park() == VF_TEMPS_WAIT && vf_call_cancel(&reader));
	vf_temps_end(&loop.temps, &maker, 1);
	CHECK(loop.waiting.n == 1 && !vf_call_send(&reader));
	end();
}

static void test_what_is_let_go_is_given_back_when_nobody_reads_it(void)
{
	begin();
	temps[1].link.next = NULL;
	vf_temps_settle(&loop.temps, &temps[1].link);
	vf_done_over(&loop.done);
	CHECK(!vf_done_take_within(&loop.done, 0));
	vf_temps_end(&loop.temps, &reader, 0);
	vf_done_over(&loop.done);
	struct vf_bundle *bundle = vf_done_take_within(&loop.done, 0);
	CHECK(bundle && bundle->temp == &temps[1] && !bundle->link.next);
	vf_bundle_free(bundle);
	end();
}

/* What is known of where a file is may be less than is so: then it is made again. */
static void test_short_memory_forgets_a_holder(void)
{
	const struct vf_worker *worker = (const struct vf_worker *)&loop;
	for (int n = 0; n < 2; n++) {
		begin();
		temps[0].maker = &maker;
		faults_begin(n);
		vf_temp_hold(&temps[0], worker, "name");
		CHECK(faults_end() == 1 && temps[0].n_holders == (uint32_t)n && temps[0].made);
		CHECK((temps[0].cached_name == NULL) == n);
		vf_temps_end(&loop.temps, &maker, 0);
		CHECK(temps[0].state == (n ? VF_TEMP_THERE : VF_TEMP_MAKING));
		CHECK(loop.waiting.n == !n); /* the call that makes it */
		vf_temp_hold(&temps[0], worker, "name");
		CHECK(temps[0].n_holders == 1 && temps[0].cached_name);
		end();
	}
}

/* It is given back, or stays until the end. */
static void test_short_memory_keeps_what_was_let_go(void)
{
	begin();
	vf_temps_end(&loop.temps, &reader, 0);
	faults_begin(FAULTS_ALL);
	temps[1].link.next = NULL;
	vf_temps_settle(&loop.temps, &temps[1].link);
	CHECK(faults_end() == 1 && temps[1].given);
	vf_done_over(&loop.done);
	CHECK(!vf_done_take_within(&loop.done, 0));
	end();
}

int main(void)
{
	test_a_reader_goes_when_its_file_is_there();
	test_a_reader_fails_with_the_call_that_makes_its_file();
	test_a_call_that_is_cancelled_while_it_waits_never_runs();
	test_what_is_let_go_is_given_back_when_nobody_reads_it();
	test_short_memory_forgets_a_holder();
	test_short_memory_keeps_what_was_let_go();
	return 0;
}
