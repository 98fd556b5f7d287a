"""The wire: what the manager's side and workers must agree on. ``csrc/vf_wire.h`` says the same for C.

Where both say it, the names are the same but for ``VF_`` in front, and for a struct's size: ``RESULT_RECORD.size`` here
is ``VF_RESULT_RECORD_NBYTES`` there. A test compares the two, and both with the tables of docs/architecture.md. Each
variable of the environment has its own name as its constant.

Nothing but constants, so that anything may import this. So may what a Python runs that is older than the library's
(`checked`): no syntax newer than 3.6.
"""

import struct

LIBRARY_NAME = "vinefast"

BUNDLE_MAGIC = b"VFB1"
RESULT_MAGIC = b"VFR1"

DIGEST_NBYTES = 16

BUNDLE_HEADER = struct.Struct("<4sIIIIII")
BUNDLE_FUNCTION = struct.Struct(f"<{DIGEST_NBYTES}sI")
BUNDLE_CALL = struct.Struct("<III")
BUNDLE_NUMBER = struct.Struct("<Q")
# Above a call's number, in the same integer: how often it was lost before.
LOSSES_SHIFT = 56
RESULT_HEADER = struct.Struct("<4sIQQQIIIIIIIII4x")
RESULT_RECORD = struct.Struct("<IIQ")
# Before each piece of the output behind the records.
OUTPUT_PIECE = struct.Struct("<IIQQ")

# Flags of a bundle: what its calls print is to come back call by call.
BUNDLE_CAPTURES = 1

# In the place of the length of the output: there was some, but no room for it.
OUTPUT_DROPPED = 2147483647
# Kinds of its pieces: what one call has printed; the name of the slot's file; what was written to that.
OUTPUT_OF_CALL = 1
OUTPUT_FILE = 2
OUTPUT_OF_SLOT = 3

# Of payloads with buffers, and of buffers, in a frame.
ALIGNMENT = 64

# How a frame travels where there may be no NUL byte: the first byte of what does.
ENCODING_PLAIN = b"I"
ENCODING_ESCAPED = b"E"
# What follows an escape, for the byte that stands for NUL, and for the escape.
ESCAPED_ZERO = 1
ESCAPED_ESCAPE = 2
# The whole COMMAND of a bundle whose frame is in this file of its sandbox.
COMMAND_IN_FILE = b"F"
FRAME_FILE = "frame"
# A COMMAND that begins so is for the supervisor: calls of other bundles that are to end, as " TASK:INDEX,INDEX" each.
COMMAND_STOP = b"S"
# The same, for one call: the answer has the Python stack of that call, if it runs.
COMMAND_STACK = b"T"
# Before the COMMAND of a bundle whose calls may take no more memory than so many MB, as "M100 ".
COMMAND_LIMITED = b"M"
# TaskVine sends an output of up to this size as a C string within another message.
INLINE_NBYTES = 1024

# Kinds of payload.
PAYLOAD_NONE = 0
PAYLOAD_PICKLE = 1
PAYLOAD_PARSL = 2
PAYLOAD_BUFFERS = 3
# Added to one of these: the arguments of many calls, column by column.
PAYLOAD_CHUNK = 16
# Added to one of these: a plan for the call's files follows the arguments (files.py).
PAYLOAD_FILES = 32

# Statuses of a record. STATUS_ENGINE is never in a frame: it is the manager's side's for a bundle that has failed.
STATUS_NONE = 0
STATUS_PICKLE = 1
STATUS_PARSL = 2
STATUS_EXCEPTION = 3
STATUS_DIED = 4
STATUS_UNKNOWN_FUNCTION = 5
STATUS_BUFFERS = 6
STATUS_NODE = 7
STATUS_TOO_LARGE = 8
STATUS_ENGINE = 9
STATUS_INPUT_CHANGED = 10
STATUS_INPUT_SPOILED = 11
STATUS_TIMED_OUT = 12

# Exit code of a bundle whose result frame does not fit its worker's disk.
EXIT_NO_ROOM = 28

# Variables of the environment that the program gives to libraries.
VINEFAST_VERSIONS = "VINEFAST_VERSIONS"
VINEFAST_CWD = "VINEFAST_CWD"
VINEFAST_PATH = "VINEFAST_PATH"
VINEFAST_RESULT_NBYTES = "VINEFAST_RESULT_NBYTES"
VINEFAST_PEER_STALL_S = "VINEFAST_PEER_STALL_S"
VINEFAST_STOP_GRACE_S = "VINEFAST_STOP_GRACE_S"
VINEFAST_SLOT_MAX_CALLS = "VINEFAST_SLOT_MAX_CALLS"
VINEFAST_SLOT_MAX_GROWTH_NBYTES = "VINEFAST_SLOT_MAX_GROWTH_NBYTES"
VINEFAST_CONTEXT_TIMEOUT_S = "VINEFAST_CONTEXT_TIMEOUT_S"
VINEFAST_KEPT_FUNCTIONS_NBYTES = "VINEFAST_KEPT_FUNCTIONS_NBYTES"
VINEFAST_KEPT_CONTEXTS = "VINEFAST_KEPT_CONTEXTS"
VINEFAST_OUTPUT = "VINEFAST_OUTPUT"
VINEFAST_OUTPUT_NBYTES = "VINEFAST_OUTPUT_NBYTES"
# Before a name that TaskVine would set over the user's value.
VINEFAST_USERS_ = "VINEFAST_USERS_"
# What a call of the regular mode may take, in MB; other calls have it before their COMMAND.
VINEFAST_MEMORY_LIMIT_MB = "VINEFAST_MEMORY_LIMIT_MB"
# Those that a user, or a test, may give them besides: the last is a file with a line "oom_kill N".
VINEFAST_SLOTS = "VINEFAST_SLOTS"
VINEFAST_FUNCTIONS = "VINEFAST_FUNCTIONS"
VINEFAST_OOM_EVENTS = "VINEFAST_OOM_EVENTS"
# Why no call can run there, by the shell commands that start them (workers/command.py, environment.sh).
VINEFAST_PROBLEM = "VINEFAST_PROBLEM"
VINEFAST_INIT_STATUS = "VINEFAST_INIT_STATUS"
VINEFAST_INIT_COMMAND = "VINEFAST_INIT_COMMAND"
# What libraries give to calls: the slot, and a mark in all that calls start of which library it belongs to.
VINEFAST_SLOT = "VINEFAST_SLOT"
VINEFAST_LIBRARY = "VINEFAST_LIBRARY"
