-- A job's record: all about it that scripts decide by, packed. What its times tell is -1 where there is none.
--
-- waits     1: it waits for the jobs in parents:<id>
-- children  1: there may be jobs that wait for it, in children:<id>
-- limit     "<max_running>:<concurrency key>", "" without one

local PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = 0, 1, 2, 3, 4
local RECORD = '<BBBBBI4I4i4I4dddddI8I8I4c0I4c0I4c0I4c0I4c0I4c0'

local function written(job)
  return pack(RECORD, job.state, job.stop, job.lane, job.waits, job.children, job.starts, job.refunds, job.priority,
    job.retries, job.created, job.due, job.expires, job.started, job.finished, job.place, job.ended,
    #job.worker, job.worker, #job.queue, job.queue, #job.runtime, job.runtime, #job.key, job.key, #job.code, job.code,
    #job.limit, job.limit)
end

-- A record that came with gaps for the time it was made (bytes 22 to 29) and its place (62 to 69).
local function filled(record, place)
  return string.sub(record, 1, 21) .. pack('<d', now) .. string.sub(record, 30, 61) .. pack('<I8', place)
    .. string.sub(record, 70)
end

local function read(record)
  local state, stop, lane, waits, children, starts, refunds, priority, retries, created, due, expires, started,
    finished, place, ended, worker, queue, runtime, key, code, limit = parse(RECORD, record)
  return {
    state = state, stop = stop, lane = lane, waits = waits, children = children, starts = starts, refunds = refunds,
    priority = priority, retries = retries, created = created, due = due, expires = expires, started = started,
    finished = finished, place = place, ended = ended, worker = worker, queue = queue, runtime = runtime, key = key,
    code = code, limit = limit,
  }
end

local function find_job(id)
  local record = call('HGET', JOB .. id, 'v')
  return record and read(record) or nil
end

local function save(id, job)
  call('HSET', JOB .. id, 'v', written(job))
end
