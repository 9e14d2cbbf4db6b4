-- Workers, and when one counts as silent.

-- A beat from the future is no better than an old one: the clock was set back, and the living soon beat again.
local function silent(worker)
  return worker.lease <= 0 or math.abs(now - worker.beat) > worker.lease
end

local function find_worker(id)
  local record = call('HGET', NS .. 'workers', id)
  if not record then
    return nil
  end
  local worker = {info = string.sub(record, 25)}
  worker.lease, worker.beat, worker.judges = parse('<ddd', record)
  return worker
end

local function save_worker(id, worker)
  call('HSET', NS .. 'workers', id, pack('<ddd', worker.lease, worker.beat, worker.judges) .. worker.info)
  local off = worker.lease <= 0
  call('ZADD', NS .. 'silence', off and '-inf' or exact(worker.beat + worker.lease), id)
  call('ZADD', NS .. 'ahead', off and '-inf' or exact(worker.beat - worker.lease), id)
end

local function forget_worker(id)
  call('HDEL', NS .. 'workers', id)
  call('ZREM', NS .. 'silence', id)
  call('ZREM', NS .. 'ahead', id)
end


-- What the workers hold: for each, its jobs as {id, job} in the order of pushing. Asked only when one has died.
local function held()
  local found = {}
  for _, queue in ipairs(call('HKEYS', NS .. 'queues')) do
    for _, id in ipairs(call('ZRANGE', NS .. 'jobs:running:' .. queue, 0, -1)) do
      local job = find_job(id)
      found[job.worker] = found[job.worker] or {}
      table.insert(found[job.worker], {id = id, job = job})
    end
  end
  for _, jobs in pairs(found) do
    table.sort(jobs, function(one, two) return one.job.place < two.job.place end)
  end
  return found
end
