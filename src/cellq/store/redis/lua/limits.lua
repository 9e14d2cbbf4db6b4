-- Jobs that share a concurrency key: a job may start while fewer of them run than its own max_running.
--
--      limited:2:gpu:<line>   a b c d e      those of one key, one max_running and one line, by priority, then place
--                             │
--      ready:<line>         x a y            the first of them, while it may start: claims find it among the others
--
-- So what a full key holds back is in nobody's way, however much it is. `running` counts what runs of each key. The
-- hash turns:<key> has a field "<max_running>:<line>" for each of these sets: the member that is in ready:<line>, ""
-- for none. Whatever may change a turn touches the key, and `flush` puts its turns right.

local touched -- how many more, or fewer, of each key run now

local function touch(limit, change)
  local key = string.match(limit, ':(.*)$')
  touched = touched or {}
  touched[key] = (touched[key] or 0) + change
  return key
end

-- The set that jobs with this limit wait in, which is about to change.
local function limited(limit, line)
  local key = touch(limit, 0)
  call('HSETNX', NS .. 'turns:' .. key, string.match(limit, '^%d+:') .. line, '')
  return NS .. 'limited:' .. #limit .. ':' .. limit .. ':' .. line
end

local function take_turns()
  for key, change in pairs(touched) do
    local running, turns = call('HINCRBY', NS .. 'running', key, change), NS .. 'turns:' .. key
    if running == 0 then
      call('HDEL', NS .. 'running', key)
    end
    if change < 0 then
      ring(WORK)
    end
    local held = call('HGETALL', turns)
    for n = 1, #held, 2 do
      local most, line = string.match(held[n], '^(%d+):(.*)$')
      local limit = most .. ':' .. key
      local first = call('ZRANGE', NS .. 'limited:' .. #limit .. ':' .. limit .. ':' .. line, 0, 0, 'WITHSCORES')
      local old, new = held[n + 1], running < tonumber(most) and first[1] or ''
      if new ~= old and old ~= '' then
        call('ZREM', NS .. 'ready:' .. line, old)
      end
      if new ~= old and new ~= '' then
        call('ZADD', NS .. 'ready:' .. line, first[2], new)
      end
      if not first[1] then
        call('HDEL', turns, held[n])
      elseif new ~= old then
        call('HSET', turns, held[n], new)
      end
    end
  end
  touched = nil
end
