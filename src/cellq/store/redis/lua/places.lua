-- Where a job is found: in the list of its state and queue, and while it is pending in its line: once it is due among
-- the ready ones, or where its concurrency key is limited. While it waits for others it is in no line.

local STATES = {[0] = 'pending', 'running', 'completed', 'failed', 'cancelled'}

-- Changes of sets are gathered and made together: a call costs more than what it does.
local leaving, entering = {}, {}

local function leave(key, member)
  local gone = leaving[key]
  if not gone then
    gone = {}
    leaving[key] = gone
  end
  gone[#gone + 1] = member
end

local function enter(key, score, member)
  local come = entering[key]
  if not come then
    come = {}
    entering[key] = come
  end
  local size = #come
  come[size + 1] = score
  come[size + 2] = member
end

local function flush()
  for key, gone in pairs(leaving) do
    for start = 1, #gone, SLICE do
      call('ZREM', key, unpack(gone, start, math.min(start + SLICE - 1, #gone)))
    end
  end
  for key, come in pairs(entering) do
    for start = 1, #come, SLICE do
      call('ZADD', key, unpack(come, start, math.min(start + SLICE - 1, #come)))
    end
  end
  leaving, entering = {}, {}
  if touched then
    take_turns()
  end
end

local function line_of(lane, queue, runtime)
  return lane .. ':' .. runtime .. ':' .. queue
end

-- The queue has such a line from now on.
local function open_line(lane, queue, runtime)
  local known, line = call('HGET', NS .. 'queues', queue) or '0 0\n', lane .. ':' .. runtime .. '\n'
  if not string.find(known, '\n' .. line, 1, true) then
    call('HSET', NS .. 'queues', queue, known .. line)
  end
end

local function listed_in(job)
  return NS .. 'jobs:' .. STATES[job.state] .. ':' .. job.queue
end

local function ranked(place, id)
  return string.format('%014x', place) .. id
end

local function rank(id, job)
  return ranked(job.place, id) .. job.limit
end

-- Where a pending job that waits for no other stands in its line, and by what score.
local function standing(job)
  local line = line_of(job.lane, job.queue, job.runtime)
  if job.due >= 0 then
    return NS .. 'delayed:' .. line, exact(job.due)
  elseif job.limit == '' then
    return NS .. 'ready:' .. line, -job.priority
  end
  return limited(job.limit, line), -job.priority
end

local function enter_line(id, job)
  if job.waits == 0 then
    local set, score = standing(job)
    enter(set, score, rank(id, job))
  end
end

local function leave_line(id, job)
  if job.waits == 0 then
    local set = standing(job)
    leave(set, rank(id, job))
  end
end

local function move(id, job, state)
  leave(listed_in(job), id)
  if job.limit ~= '' and (job.state == RUNNING or state == RUNNING) then
    touch(job.limit, state == RUNNING and 1 or -1)
  end
  job.state = state
  enter(listed_in(job), job.place, id)
end

local function to_pending(id, job, due)
  move(id, job, PENDING)
  job.worker, job.due = '', due
  enter_line(id, job)
  ring(WORK, NEWS)
end
