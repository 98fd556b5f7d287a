# Questions about calls that run, which their workers answer.


cdef class Question:
    """One question, until it is answered or the engine has ended."""

    cdef vf_question c_question
    cdef Call call  # whose memory C looks at
    cdef object answer

    def __cinit__(self, Call call, answer):
        self.call = call
        self.answer = answer
        self.c_question.call = &call.c_call
        self.c_question.object = <void *>self


cdef class Questions:
    """Those of one engine that are not answered. Any thread asks; the demux thread answers."""

    cdef Loop loop
    cdef set open  # None: nobody will answer any more
    cdef set left  # when that was so

    def __cinit__(self, Loop loop):
        self.loop = loop
        self.open = set()

    cdef object ask(self, Call call):
        """Give a future of where a call is: see `Engine.stack`."""
        cdef object answer = Future()
        cdef Question question = Question(call, answer)
        if self.open is None or self.loop.ended or self.loop.is_elsewhere() or call.state is not PENDING:
            answer.set_result(None)
            return answer
        self.open.add(question)
        vf_loop_ask(self.loop.c_loop, &question.c_question)
        return answer

    cdef int answer(self, const vf_bundle *bundle) except -1:
        """A bundle has brought the answer to a question."""
        cdef Question question = <Question>bundle.question.object
        cdef vf_result_header header
        cdef vf_record record
        cdef uint64_t offset = VF_RESULT_HEADER_NBYTES
        cdef object stack = None
        try:
            if (bundle.engine_result == 0 and bundle.frame != NULL
                    and vf_result_open(bundle.frame, bundle.frame_nbytes, &header) == 0 and header.n_records
                    and vf_result_next(bundle.frame, &header, &offset, &record) == 0
                    and record.status == VF_STATUS_PICKLE):
                stack = pickle_loads(payload_of(&record))
        except BaseException:
            log_exception(logger, "cannot read what a worker says of %s", question.call)
        tell_asker(question, stack)
        self.open.discard(question)
        return 0

    cdef int end(self) except -1:
        """Nobody will answer any more."""
        cdef Question question
        # The manager thread may still look at them.
        self.left, self.open = self.open, None
        for question in self.left or ():
            tell_asker(question, None)
        return 0


cdef int tell_asker(Question question, stack) except -1:
    try:
        question.answer.set_result(stack)
    except BaseException:  # it was cancelled, or a callback of it raises
        pass
    return 0
