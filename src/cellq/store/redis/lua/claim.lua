-- claim: take back what dead workers held, then start the first eligible jobs.
--
-- ARGV[5]  worker, ARGV[6] its runtime, ARGV[7] to ARGV[9] room in the lanes 0 to 2, from ARGV[10] on the queues
--
-- Gives, packed, when the next delayed job is due, or the next one expires (-1: none), how often WORK was rung so far,
-- if the next ring is published (else -1), and the jobs by priority, then place. Who gets less than there is room for
-- is about to sleep.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: limits.lua
-- include: places.lua
-- include: family.lua
-- include: fading.lua
-- include: ending.lua
-- include: workers.lua

local PROMOTED = 5000 -- delayed jobs moved per line and call; more are due than that: at the next call

local EXPIRED_AT_ONCE = 1000 -- as in contract.py
local EXPIRING = NS .. 'expiring'

local worker, runtime = ARGV[5], ARGV[6]
local room = {[0] = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])}
local places = room[0] + room[1] + room[2]

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
      fade(job_id, job, values[1], values[2])
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

local function first_in(set)
  return tonumber(call('ZRANGE', set, 0, 0, 'WITHSCORES')[2] or -1)
end

-- Cancel what has not started in time. Gives when the next one expires; nil when there may be more of them by now.
local function expire()
  local next_one = first_in(EXPIRING)
  if next_one < 0 or next_one > now then
    return next_one
  end
  local late = call('ZRANGEBYSCORE', EXPIRING, '-inf', exact(now), 'LIMIT', 0, EXPIRED_AT_ONCE)
  for _, member in ipairs(late) do
    local id = string.sub(member, 15, 46)
    local job = find_job(id)
    if job.state == PENDING then -- not ended as the child of one before it
      give_up(id, job, cjson.encode({expired = true}))
      tell_children(id, job)
    end
  end
  settle()
  return #late < EXPIRED_AT_ONCE and first_in(EXPIRING) or nil
end

-- Delayed jobs of a line that are due by now become ready ones. Gives when the next one is due.
local function promote(line)
  local delayed = NS .. 'delayed:' .. line
  local next_due = first_in(delayed)
  if next_due >= 0 and next_due <= now then
    for _, member in ipairs(call('ZRANGEBYSCORE', delayed, '-inf', exact(now), 'LIMIT', 0, PROMOTED)) do
      local id = string.sub(member, 15, 46)
      local job = find_job(id)
      job.due = -1
      save(id, job)
      leave(delayed, member)
      enter_line(id, job)
    end
    flush()
    next_due = first_in(delayed)
  end
  return next_due
end

local function sooner(one, two)
  return two < 0 and one or one < 0 and two or math.min(one, two)
end

-- The lines that we may claim from: of open queues, of lanes with room, of our runtime or of any.
local function open_lines()
  local lines, seen = {}, {}
  for n = 10, #ARGV do
    local queue = ARGV[n]
    local known = not seen[queue] and call('HGET', NS .. 'queues', queue)
    seen[queue] = true
    if known and string.sub(known, 1, 1) == '0' then
      local limit, names = string.match(known, '^0 (%d+)\n(.*)$')
      local of = {left = math.huge}
      if limit ~= '0' then
        of.left = tonumber(limit) - call('ZCARD', NS .. 'jobs:running:' .. queue)
      end
      for lane, needs in string.gmatch(names, '(%d):([^\n]*)\n') do
        lane = tonumber(lane)
        if room[lane] > 0 and (needs == '' or needs == runtime) then
          local name = line_of(lane, queue, needs)
          lines[#lines + 1] = {name = name, ready = NS .. 'ready:' .. name, lane = lane, queue = of, read = 0}
        end
      end
    end
  end
  return lines
end

local function before(one, two)
  if one.score ~= two.score then
    return one.score < two.score
  end
  return one.member < two.member
end

-- The next ready jobs of a line: as many as there is room for in its lane.
local function read_on(line, found)
  local left = room[line.lane]
  if left > 0 and line.queue.left > 0 then
    local members = call('ZRANGE', line.ready, line.read, line.read + left - 1, 'WITHSCORES')
    line.read = line.read + left
    for n = 1, #members, 2 do
      found[#found + 1] = {score = tonumber(members[n + 1]), member = members[n], line = line}
    end
    if #members == 2 * left then
      found[#found].more = true
    end
  end
end

-- Whether a job may start, as far as its concurrency key goes; and the job behind it in its set, if it does.
local running, started_of = {}, {}

local function take_turn(one, limit)
  local most, key = string.match(limit, '^(%d+):(.*)$')
  running[key] = running[key] or tonumber(call('HGET', NS .. 'running', key)) or 0
  if running[key] >= tonumber(most) then
    return false
  end
  running[key] = running[key] + 1
  local set = limited(limit, one.line.name)
  local at = (started_of[set] or 0) + 1
  started_of[set] = at
  local member = call('ZRANGE', set, at, at, 'WITHSCORES')
  return true, member[1] and {score = tonumber(member[2]), member = member[1], line = one.line}
end

-- Walks over the ready jobs of all lines in their order. Nothing is moved meanwhile: what is started counts for those
-- behind it, and lets one more job of its concurrency key come forth, among `later`.
local function choose(lines)
  local found, later, chosen, at = {}, {}, {}, 1
  for _, line in ipairs(lines) do
    read_on(line, found)
  end
  if #lines > 1 then
    table.sort(found, before)
  end
  while places > 0 do
    local one = found[at]
    if later[1] and (not one or before(later[1], one)) then
      one = table.remove(later, 1)
    else
      at = at + 1
    end
    if not one then
      break
    end
    local line, behind = one.line, nil
    if room[line.lane] > 0 and line.queue.left > 0 then
      local starts = true
      if #one.member > 46 then
        starts, behind = take_turn(one, string.sub(one.member, 47))
      end
      if starts then
        chosen[#chosen + 1] = one
        places, room[line.lane], line.queue.left = places - 1, room[line.lane] - 1, line.queue.left - 1
      end
    end
    if behind or one.more then
      later[#later + 1] = behind
      if one.more then
        read_on(line, later)
      end
      table.sort(later, before)
    end
  end
  return chosen
end

local function handed(id, job, asked, payload, ctx, inputs)
  ctx, inputs = ctx or '{}', inputs or ''
  return pack('<I4I4I4I4I4I4', job.starts, job.refunds, #asked, #payload, #ctx, #inputs)
    .. id .. asked .. payload .. ctx .. inputs
end

local function head(next_due, count, rings)
  return pack('<ddI4', next_due, rings or -1, count)
end

-- What was handed out by a call whose answer was lost, as far as it is still so.
local function hand_out_again(receipt)
  local claims = {''}
  for id, starts in string.gmatch(string.sub(receipt, 25), '(%x+)/(%d+) ') do
    local values = call('HMGET', JOB .. id, 'v', 'm', 'p', 'x', 'i')
    local job = values[1] and read(values[1])
    if job and job.state == RUNNING and job.worker == worker and job.starts == tonumber(starts) then
      claims[#claims + 1] = handed(id, job, values[2], values[3], values[4], values[5])
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
local next_expiry, next_due = expire(), -1
if not next_expiry then
  return answer(head(now, 0))
end
local lines = open_lines()
for _, line in ipairs(lines) do
  next_due = sooner(next_due, promote(line.name))
end
local chosen = choose(lines)
local rings = (places > 0 or #chosen == 0) and arm(WORK) or nil
if #chosen == 0 then
  return answer(head(sooner(next_due, next_expiry), 0, rings))
end
local claims, started = {''}, {}
for _, one in ipairs(chosen) do
  local id = string.sub(one.member, 15, 46)
  local values = call('HMGET', JOB .. id, 'v', 'm', 'p', 'x', 'i')
  local job = read(values[1])
  leave(job.limit == '' and one.line.ready or limited(job.limit, one.line.name), one.member)
  if job.expires >= 0 then
    leave(EXPIRING, rank(id, job))
    job.expires, next_expiry = -1, nil
  end
  move(id, job, RUNNING)
  job.worker, job.started, job.starts = worker, now, job.starts + 1
  save(id, job)
  claims[#claims + 1] = handed(id, job, values[2], values[3], values[4], values[5])
  started[#started + 1] = id .. '/' .. job.starts .. ' '
end
flush()
next_due = sooner(next_due, next_expiry or first_in(EXPIRING))
claims[1] = head(next_due, #chosen, rings)
ring(NEWS)
return answer(table.concat(claims), 'claim', string.format('%-24s', exact(next_due)) .. table.concat(started))
