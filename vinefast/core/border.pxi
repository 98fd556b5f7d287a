# The border to TaskVine, tried (csrc/vf_selftest.h).

cdef size_t WRONG_NBYTES = 8192


def check_border(directory):
    """Let a manager and a made-up worker meet on this machine: is TaskVine as vinefast needs it inside?

    Parameters
    ----------
    directory : str
        Gets TaskVine's logs.

    Returns
    -------
    list of str
        What is wrong; empty if all is well.
    """
    cdef bytes name = os.fsencode(directory)
    cdef bytearray wrong = bytearray(WRONG_NBYTES)
    cdef const char *c_name = name
    cdef char *c_wrong = wrong
    with nogil:
        vf_selftest_run(c_name, c_wrong, WRONG_NBYTES)
    return c_wrong.decode(errors="replace").splitlines()
