-- A job's record: all about it that scripts decide by, packed. What its times tell is -1 where there is none.

local PENDING, RUNNING, COMPLETED, FAILED, CANCELLED = 0, 1, 2, 3, 4
local RECORD = '<BBBI4I4i4I4ddddI8I8I4c0I4c0I4c0I4c0I4c0'

local function written(job)
  return pack(RECORD, job.state, job.stop, job.lane, job.starts, job.refunds, job.priority, job.retries,
    job.created, job.due, job.started, job.finished, job.place, job.ended,
    #job.worker, job.worker, #job.queue, job.queue, #job.runtime, job.runtime, #job.key, job.key, #job.code, job.code)
end

local function read(record)
  local state, stop, lane, starts, refunds, priority, retries, created, due, started, finished, place, ended,
    worker, queue, runtime, key, code = parse(RECORD, record)
  return {
    state = state, stop = stop, lane = lane, starts = starts, refunds = refunds, priority = priority,
    retries = retries, created = created, due = due, started = started, finished = finished, place = place,
    ended = ended, worker = worker, queue = queue, runtime = runtime, key = key, code = code,
  }
end

local function find_job(id)
  local record = call('HGET', JOB .. id, 'v')
  return record and read(record) or nil
end

local function save(id, job)
  call('HSET', JOB .. id, 'v', written(job))
end
