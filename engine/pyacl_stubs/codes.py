"""Return codes of pyACL, their names, and the exception that carries one inside the simulator.

Source: graphengine's ``inc/external/acl/error_codes`` (2022-09). Classes: 1xxxxx user or environment, 2xxxxx resources,
3xxxxx business, 5xxxxx internal. The names are those of the constants without their prefix.
"""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """The codes that the simulator can return, plus those that a fault script is likely to ask for."""

    SUCCESS = 0
    INVALID_PARAM = 100000
    UNINITIALIZE = 100001
    REPEAT_INITIALIZE = 100002
    INVALID_FILE = 100003
    INVALID_MODEL_ID = 100011
    DESERIALIZE_MODEL = 100012
    PARSE_MODEL = 100013
    READ_MODEL_FAILURE = 100014
    MODEL_SIZE_INVALID = 100015
    MODEL_INPUT_NOT_MATCH = 100017
    MODEL_OUTPUT_NOT_MATCH = 100018
    MODEL_NOT_DYNAMIC = 100019
    REPEAT_SUBSCRIBE = 100033
    STREAM_NOT_SUBSCRIBE = 100034
    THREAD_NOT_SUBSCRIBE = 100035
    WAIT_CALLBACK_TIMEOUT = 100036
    REPEAT_FINALIZE = 100037
    NOT_STATIC_AIPP = 100038
    RT_PARAM_INVALID = 107000
    RT_INVALID_DEVICEID = 107001
    RT_CONTEXT_NULL = 107002
    RT_STREAM_CONTEXT = 107003
    RT_MODEL_CONTEXT = 107004
    RT_STREAM_MODEL = 107005
    RT_EVENT_TIMESTAMP_INVALID = 107006
    RT_EVENT_TIMESTAMP_REVERSAL = 107007
    RT_ADDR_UNALIGNED = 107008
    RT_STREAM_SUBSCRIBE = 107011
    RT_THREAD_SUBSCRIBE = 107012
    RT_STREAM_NO_CB_REG = 107015
    RT_INVALID_MEMORY_TYPE = 107016
    RT_INVALID_HANDLE = 107017
    RT_INVALID_MALLOC_TYPE = 107018
    RT_WAIT_TIMEOUT = 107019
    RT_TASK_TIMEOUT = 107020
    GE_MODEL_PATH_INVALID = 145002
    GE_MODEL_ID_INVALID = 145003
    GE_MODEL_DATA_SIZE_INVALID = 145006
    GE_MODEL_ADDR_INVALID = 145007
    GE_DYNAMIC_INPUT_ADDR_INVALID = 145011
    GE_DYNAMIC_INPUT_LENGTH_INVALID = 145012
    GE_DYNAMIC_BATCH_SIZE_INVALID = 145013
    GE_AIPP_NOT_EXIST = 145015
    BAD_ALLOC = 200000
    API_NOT_SUPPORT = 200001
    FEATURE_UNSUPPORTED = 200006
    RT_FEATURE_NOT_SUPPORT = 207000
    RT_MEMORY_ALLOCATION = 207001
    RT_MEMORY_FREE = 207002
    RT_OVER_LIMIT = 207012
    RT_DEVICE_OOM = 207018
    INTERNAL_ERROR = 500000
    RT_INTERNAL_ERROR = 507000
    RT_STREAM_NOT_COMPLETE = 507004
    RT_EVENT_NOT_COMPLETE = 507006
    RT_SOC_VERSION = 507008
    RT_LOST_HEARTBEAT = 507010
    RT_MODEL_EXECUTE = 507011
    RT_REPORT_TIMEOUT = 507012
    RT_SYS_DMA = 507013
    RT_AICORE_TIMEOUT = 507014
    RT_AICORE_EXCEPTION = 507015
    RT_DEV_SETUP_ERROR = 507033
    RT_STREAM_SYNC_TIMEOUT = 507046
    RT_EVENT_SYNC_TIMEOUT = 507047
    RT_DRV_INTERNAL_ERROR = 507899
    RT_SOCKET_CLOSE = 507901
    GE_LOAD_MODEL = 545001


SUCCESS = int(Code.SUCCESS)


def code_name(code: int) -> str:
    """Name of a return code, e.g. ``RT_CONTEXT_NULL``; ``unknown`` for one that is not in the table."""
    try:
        return Code(code).name
    except ValueError:
        return "unknown"


class AclError(Exception):
    """A call of the simulator failed. It never leaves the simulator: `entry` turns it into the documented return value.

    code : what the program sees        reason : one line for ``acl.get_recent_err_msg`` and the strict report
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = int(code)
        self.reason = reason


class Outcome(AclError):
    """A failure that is no mistake of the program: a timeout, a fault script. Strict mode does not report it."""


class SimulatorFault(RuntimeError):
    """Something that would crash a program on the real card, e.g. the host reads device memory."""
