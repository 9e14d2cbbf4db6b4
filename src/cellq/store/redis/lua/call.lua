-- What every script begins with: the time, the names of keys, rings, and answers that are not given twice.
--
-- KEYS[1]  the namespace with its hash tag, "{cellq}". All other names are made from it, so a Cluster keeps all of a
--          namespace in one slot, and one script may touch all of it.
-- ARGV[1]  the time, where a test sets the clock; "" for the server's own
-- ARGV[2]  seconds that ended jobs are kept; "" for ever
-- ARGV[3]  the handle that asks, ARGV[4] the number of its call, with "-" before it when it is asked again because the
--          first answer was lost. The answer to a handle's last call of each verb is kept (see `again` and `answer`),
--          so that a write is done once however often it is sent.
--
--   job:<id>               hash  v record · m what was asked for (JSON) · p payload · i inputs · x ctx · o progress
--                                f failure · r result · e error · g its log in numbers · b its values in pieces
--   log:<id>               list  events, packed
--   blob:<token>           hash  a large value in pieces
--   code:<digest>          hash  b the code · t its token · all, live: how many jobs refer to it
--   parents:<id>           zset  ids of the jobs that it waits for, in the order named
--   children:<id>          zset  ids of the jobs that wait for it, by place; see family.lua
--   jobs:<state>:<queue>   zset  ids by place in the order of pushing: lists and counts
--   ready:<line>           zset  <place><id> by -priority: what claims read; a line is a lane, a runtime and a queue
--   delayed:<line>         zset  the same by due time
--   limited:<limit>:<line> zset  the same of those that share a concurrency key; turns, running: see limits.lua
--   expiring               zset  the same, of all lines, by the time of expiry
--   ended:<state>          zset  <id><queue> by number of ending
--   workers                hash  who there is; silence and ahead: zsets that tell when each falls silent
--   rings, armed           hashes: how often each topic was rung, and for which ones somebody sleeps
--   queues                 hash  "<1 when paused> <limit, or 0>" and the lines of each, "<lane>:<runtime>" each
--   numbers                hash  how many places and endings there were so far, and how many queues have a limit
--   keys · idle · bucket:<name> · receipts:<handle>

local NS = KEYS[1] .. ':'
local JOB, LOG = NS .. 'job:', NS .. 'log:'
local WORK, STOP, NEWS, ENDED = 0, 1, 2, 3
local SLICE = 1000 -- arguments handed over at once: Lua's stack holds some 8,000
local GRACE = 3600 -- what has a time to live outlives its keep by this: as a rule a sweep, which tidies up, is first

local call, pack, parse = redis.call, struct.pack, struct.unpack

local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end
local keep = tonumber(ARGV[2])

local function exact(number)
  return string.format('%.17g', number)
end

local rung = {}

local function ring(one, other)
  rung[one] = true
  if other then
    rung[other] = true
  end
end

-- Somebody is about to sleep: the next ring of this topic is published. Gives how often it was rung so far: who knows
-- of fewer rings need not sleep.
local function arm(topic)
  call('HSET', NS .. 'armed', topic, '1')
  return tonumber(call('HGET', NS .. 'rings', topic)) or 0
end

-- What was answered when this was asked before; nil when it was not, or nothing was done.
local function again(verb)
  if string.sub(ARGV[4], 1, 1) ~= '-' then
    return nil
  end
  local said = call('HGET', NS .. 'receipts:' .. ARGV[3], verb)
  local number, reply = string.match(said or '', '^(%d+) (.*)$')
  return number == string.sub(ARGV[4], 2) and reply or nil
end

-- The last line of a script: ring, keep the answer (or the receipt that `again` is to give), reply.
-- To publish means to wake processes, which costs more than all the rest: it is done for those who sleep (`arm`).
local function answer(reply, verb, receipt)
  for topic in pairs(rung) do
    local rings = call('HINCRBY', NS .. 'rings', topic, 1)
    if call('HDEL', NS .. 'armed', topic) == 1 then
      call('PUBLISH', NS .. 'bell:' .. topic, rings)
    end
  end
  if verb then
    local key = NS .. 'receipts:' .. ARGV[3]
    call('HSET', key, verb, string.gsub(ARGV[4], '^-', '') .. ' ' .. (receipt or reply))
    call('EXPIRE', key, GRACE)
  end
  return reply
end
