-- claim: take back what dead workers held, then start the first eligible jobs.
--
-- ARGV[5]  worker, ARGV[6] its runtime, ARGV[7], ARGV[8] room in the lanes 0 and 1, from ARGV[9] on the queues
--
-- Gives, packed, when the next delayed job is due (-1: none), how often WORK was rung so far, if the next ring is
-- published (else -1), and the jobs by priority, then place. Who gets less than there is room for is about to sleep.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: places.lua
-- include: ending.lua
-- include: workers.lua

local PROMOTED = 5000 -- delayed jobs moved per line and call; more are due than that: at the next call

local worker, runtime, room = ARGV[5], ARGV[6], {[0] = tonumber(ARGV[7]), tonumber(ARGV[8])}

local function bury(dead, jobs)
  local host, pid = unpack(cjson.decode(dead.info))
  for _, one in ipairs(jobs) do
    local job_id, job = one.id, one.job
    local attempt = job.starts - job.refunds
    if job.stop == 1 or attempt > job.retries then
      to_end(job_id, job, job.stop == 1 and CANCELLED or FAILED)
      if job.state == FAILED then
        -- Facts only: the words are made where they are read.
        local facts = {host = host, pid = pid, attempt = attempt, retries = job.retries}
        call('HSET', JOB .. job_id, 'f', cjson.encode(facts))
      else
        call('HDEL', JOB .. job_id, 'f')
      end
      save(job_id, job)
      local values = call('HMGET', JOB .. job_id, 'b', 'g')
      fade(job_id, values[1], values[2])
    else
      to_pending(job_id, job, -1)
      save(job_id, job)
    end
  end
  forget_worker(dead.id)
  ring(WORK, NEWS)
end

local function take_back(me)
  local waits = me.judges - now > 0 and me.judges - now <= me.lease
  local judges = not silent(me) and not waits
  local dead = {}
  for _, found in ipairs({
    call('ZRANGEBYSCORE', NS .. 'silence', '-inf', exact(now)),
    call('ZRANGEBYSCORE', NS .. 'ahead', exact(now), '+inf'),
  }) do
    for _, id in ipairs(found) do
      local other = find_worker(id)
      if other and id ~= worker and (other.lease <= 0 or (judges and silent(other))) then
        other.id = id
        dead[#dead + 1] = other
      end
    end
  end
  table.sort(dead, function(one, two) return one.id < two.id end)
  local jobs = #dead > 0 and held()
  for _, other in ipairs(dead) do
    bury(other, jobs[other.id] or {})
  end
  if #dead > 0 then
    settle()
  end
end

-- The first jobs of one line, at most `places`; and when its next delayed one is due.
local function first_of(line, places)
  local delayed, ready = NS .. 'delayed:' .. line, NS .. 'ready:' .. line
  local next_due = call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
  if next_due and tonumber(next_due) <= now then
    for _, member in ipairs(call('ZRANGEBYSCORE', delayed, '-inf', exact(now), 'LIMIT', 0, PROMOTED)) do
      local id = string.sub(member, 15)
      local job = find_job(id)
      job.due = -1
      save(id, job)
      leave(delayed, member)
      enter(ready, -job.priority, member)
    end
    flush()
    next_due = call('ZRANGE', delayed, 0, 0, 'WITHSCORES')[2]
  end
  return call('ZRANGE', ready, 0, places - 1, 'WITHSCORES'), tonumber(next_due)
end

local function before(one, two)
  if one.score ~= two.score then
    return one.score < two.score
  end
  return one.member < two.member
end

local function choose()
  local chosen, next_due, seen, open = {}, -1, {}, {}
  for n = 9, #ARGV do
    local queue = ARGV[n]
    if not seen[queue] and call('HGET', NS .. 'queues', queue) == '0' then
      open[#open + 1] = queue
    end
    seen[queue] = true
  end
  for lane = 0, 1 do
    local found = {}
    for _, queue in ipairs(room[lane] > 0 and open or {}) do
      for _, of in ipairs(runtime == '' and {''} or {runtime, ''}) do
        local line = line_of(lane, queue, of)
        local members, due = first_of(line, room[lane])
        if due and (next_due < 0 or due < next_due) then
          next_due = due
        end
        for n = 1, #members, 2 do
          found[#found + 1] = {score = tonumber(members[n + 1]), member = members[n], line = line}
        end
      end
    end
    table.sort(found, before)
    for n = 1, math.min(room[lane], #found) do
      chosen[#chosen + 1] = found[n]
    end
  end
  table.sort(chosen, before)
  return chosen, next_due
end

local function handed(id, job, asked, payload, ctx)
  ctx = ctx or '{}'
  return pack('<I4I4I4I4I4', job.starts, job.refunds, #asked, #payload, #ctx) .. id .. asked .. payload .. ctx
end

local function head(next_due, count, rings)
  return pack('<ddI4', next_due, rings or -1, count)
end

-- What was handed out by a call whose answer was lost, as far as it is still so.
local function hand_out_again(receipt)
  local claims = {''}
  for id, starts in string.gmatch(string.sub(receipt, 25), '(%x+)/(%d+) ') do
    local values = call('HMGET', JOB .. id, 'v', 'm', 'p', 'x')
    local job = values[1] and read(values[1])
    if job and job.state == RUNNING and job.worker == worker and job.starts == tonumber(starts) then
      claims[#claims + 1] = handed(id, job, values[2], values[3], values[4])
    end
  end
  claims[1] = head(tonumber(string.sub(receipt, 1, 24)), #claims - 1)
  return table.concat(claims)
end

local said = again('claim')
if said then
  return hand_out_again(said)
end
local me = find_worker(worker)
if not me or me.lease <= 0 then
  return answer(head(-1, 0))
end
take_back(me)
local chosen, next_due = choose()
if #chosen == 0 then
  return answer(head(next_due, 0, arm(WORK)))
end
local rings = #chosen < room[0] + room[1] and arm(WORK) or nil
local claims, started = {head(next_due, #chosen, rings)}, {}
for _, one in ipairs(chosen) do
  local id = string.sub(one.member, 15)
  local values = call('HMGET', JOB .. id, 'v', 'm', 'p', 'x')
  local job = read(values[1])
  leave(NS .. 'ready:' .. one.line, one.member)
  move(id, job, RUNNING)
  job.worker, job.started, job.starts = worker, now, job.starts + 1
  save(id, job)
  claims[#claims + 1] = handed(id, job, values[2], values[3], values[4])
  started[#started + 1] = id .. '/' .. job.starts .. ' '
end
flush()
ring(NEWS)
return answer(table.concat(claims), 'claim', string.format('%-24s', exact(next_due)) .. table.concat(started))
