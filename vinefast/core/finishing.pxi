# From bundles that came back to finished futures, on the demux thread.

cdef class Finisher:
    """Takes what comes out of the done ring of a loop, and finishes the futures of its calls.

    Parameters
    ----------
    loop : Loop
    calls : Outstanding
    questions : Questions
    on_node, on_output, on_calls : callable, optional
        As for the engine.
    """

    cdef Loop loop
    cdef Outstanding calls
    cdef Questions questions
    cdef object on_node, on_output, on_calls
    cdef vf_bundle *aside  # the demux thread has them, and finishes the first one
    cdef vf_bundle *aside_last  # valid while it waits for something that is brought back
    cdef uint64_t return_ns, complete_ns
    cdef uint64_t since_ns  # the bundle whose futures are being finished; 0: none is

    def __cinit__(self, Loop loop, Outstanding calls, Questions questions, on_node, on_output, on_calls):
        self.loop = loop
        self.calls = calls
        self.questions = questions
        self.on_node = on_node
        self.on_output = on_output
        self.on_calls = on_calls

    cdef double busy_s(self):
        """For how long the futures of one bundle have been being finished, with their callbacks; 0: none are."""
        cdef uint64_t since_ns = self.since_ns
        return (vf_now_ns() - since_ns) * 1e-9 if since_ns else 0.0

    cdef int run(self) except -1:
        """Until the done ring is closed. What comes from the user's code ends this as little as what it returns."""
        cdef vf_bundle *bundle = self.take()
        while bundle != NULL:
            if bundle.temp != NULL:
                self.loop.temps.discard(<Temp>bundle.temp.object)
            elif bundle.question != NULL:
                self.questions.answer(bundle)
            elif bundle.news:
                self.tell_of_node(bundle)
            else:
                self.finish_bundle(bundle)
            if self.loop.is_elsewhere():
                return 0
            self.aside = <vf_bundle *>bundle.link.next
            vf_bundle_free(bundle)
            bundle = self.take()
        return 0

    cdef void drop(self) noexcept:
        """Free what was taken and is not finished, if what finishes it has failed: nobody else will."""
        cdef vf_bundle *bundle
        while self.aside != NULL:
            bundle = self.aside
            self.aside = <vf_bundle *>bundle.link.next
            vf_bundle_free(bundle)

    cdef vf_bundle *take(self) noexcept:
        cdef vf_bundle *bundle = self.aside
        if bundle == NULL:
            with nogil:
                bundle = vf_done_take(&self.loop.c_loop.done)
            self.aside = bundle
        return bundle

    cdef int tell_of_node(self, vf_bundle *bundle) except -1:
        about = <bytes>bundle.frame
        try:
            self.on_node(about, bundle.worker_slots, bundle.news == VF_NODE_JOINED, bundle.stages.worker)
        except BaseException:
            log_exception(logger, "exception telling monitoring of the node %s", about)
        return 0

    cdef int tell_of_calls(self, vf_bundle *bundle) except -1:
        """Tell where and when those calls of a bundle ran whose futures are still to be finished.

        There is no moment of the library's clock: docs/architecture.md says by which rule it is found out when a call
        ran. vinefast/events/trace.py follows it as well.
        """
        cdef uint32_t i
        cdef vf_call *call
        cdef uint64_t run_ns = min(bundle.stages.run_ns, bundle.returned_ns - bundle.sent_ns)
        cdef uint64_t calls_ns = 0
        cdef uint64_t at_ns = bundle.returned_ns - run_ns
        cdef uint64_t gap_ns, duration_ns
        cdef list runs = []
        for i in range(bundle.n_outcomes):
            calls_ns += bundle.outcomes[i].record.duration_ns
        gap_ns = (run_ns - calls_ns) // (bundle.n_outcomes + 1) if calls_ns < run_ns else 0
        for i in range(bundle.n_outcomes):
            call = bundle.outcomes[i].call
            # Within the time of the bundle, whatever the library says.
            at_ns = min(at_ns + gap_ns, bundle.returned_ns)
            duration_ns = min(bundle.outcomes[i].record.duration_ns, bundle.returned_ns - at_ns)
            if call != NULL and (<Call>call.future).state is PENDING and not (<Call>call.future).brings_back():
                runs.append((<Call>call.future, at_ns, at_ns + duration_ns))
            at_ns += duration_ns
        try:
            self.on_calls(bundle.stages.worker, bundle.stages.slot, bundle.stages.pid, runs)
        except BaseException:
            log_exception(logger, "exception telling where %s ran", runs)
        return 0

    cdef int finish_bundle(self, vf_bundle *bundle) except -1:
        cdef uint32_t i
        cdef vf_call *call
        cdef const vf_record *record
        cdef FrameMemory memory = None
        cdef FrameMemory kept
        cdef dict printed = None
        cdef uint64_t start_ns = vf_now_ns()
        self.since_ns = start_ns
        if bundle.returned_ns:
            self.return_ns += bundle.n_outcomes * (start_ns - bundle.returned_ns)
            vf_histogram_add(
                &self.loop.c_loop.histograms[VF_STAGE_RETURN], start_ns - bundle.returned_ns, bundle.n_outcomes
            )
            if self.on_calls is not None and bundle.stages.run_ns:
                self.tell_of_calls(bundle)
        if bundle.output_at:
            printed = self.take_output(bundle)
            bundle.output_at = 0
        for i in range(bundle.n_outcomes):
            call = bundle.outcomes[i].call
            if call == NULL:
                continue  # finished by finish_brought
            bundle.outcomes[i].call = NULL
            if printed is not None:
                (<Call>call.future).printed = printed.get(call.number)
            elif bundle.output_dropped and call.spec.captures:
                (<Call>call.future).printed = NO_ROOM_FOR_PRINTED
            record = &bundle.outcomes[i].record
            limit = limit_of(call, record)
            future = self.calls.remove(call)
            kept = None
            # Where one result makes up most of a frame, its arrays may keep the frame alive.
            if record.status == VF_STATUS_BUFFERS and record.nbytes > bundle.frame_nbytes // 2:
                kept = memory = keep_frame(bundle, memory)
            finish_surely(future, limit, bundle, record, kept)
            if self.loop.is_elsewhere():
                return 0
        self.since_ns = 0
        if bundle.returned_ns:
            self.complete_ns += vf_now_ns() - start_ns
        return 0

    cdef dict take_output(self, vf_bundle *bundle):
        """Give what single calls have printed, and hand on what slots have written."""
        try:
            printed, written = pieces_of_output(
                PyBytes_FromStringAndSize(bundle.frame + bundle.output_at, bundle.frame_nbytes - bundle.output_at)
            )
            if self.on_output is not None:
                for piece in written:
                    self.on_output(*piece)
            return printed
        except BaseException:
            log_exception(logger, "cannot read the output of %s", "a bundle")
        return {}

    # ---- user's code on this thread waits for what is brought back from workers ----

    cdef int wait_for(self, future, deadline) except -1:
        """Wait for a future of what is brought back, of whatever engine."""
        future.add_done_callback(self.wake)
        self.finish_brought(self.aside)  # it may have come already, with what this thread is finishing
        while not future.done():
            left_s = 1.0 if deadline is None else min(1.0, deadline - time.monotonic())
            if left_s <= 0 or not self.await_brought(<int>ceil(1000 * left_s)):
                break
        return 0

    def wake(self, future):
        vf_done_wake_taker(&self.loop.c_loop.done)

    cdef bint await_brought(self, int timeout_ms) except -1:
        """Let results come, and finish those that were brought back; tells whether any may still come."""
        cdef vf_bundle *bundle
        cdef bint closed = vf_done_is_closed(&self.loop.c_loop.done)
        with nogil:
            bundle = vf_done_take_within(&self.loop.c_loop.done, timeout_ms)
        if bundle == NULL:
            return not closed
        if self.aside == NULL:
            self.aside = bundle
        else:
            self.aside_last.link.next = &bundle.link
        self.finish_brought(bundle)
        return True

    cdef int finish_brought(self, vf_bundle *bundle) except -1:
        """From this bundle on, finish what was brought back; all else stays aside, in its order.

        The others' callbacks are not called: they would run within the user's code that waits, each within the one
        before.
        """
        cdef uint32_t i
        cdef vf_outcome *outcome
        cdef vf_bundle *last = bundle
        while last != NULL:  # first of all: what is unpickled below may come here again
            self.aside_last = last
            last = <vf_bundle *>last.link.next
        while bundle != NULL:
            for i in range(bundle.n_outcomes):
                outcome = &bundle.outcomes[i]
                if outcome.call == NULL or not (<Call>outcome.call.future).brings_back():
                    continue
                limit = limit_of(outcome.call, &outcome.record)
                future = self.calls.remove(outcome.call)
                outcome.call = NULL
                # Not with the frame, which is the others' as well.
                finish_surely(future, limit, bundle, &outcome.record, None)
            bundle = <vf_bundle *>bundle.link.next
        return 0
