-- take: a token from a bucket that all workers share.
--
-- ARGV[5]  bucket, ARGV[6] tokens added per second, ARGV[7] how many it holds
--
-- Gives "0" when a token was taken, else the seconds until there is one.
-- include: call.lua

local said = again('take')
if said then
  return said
end
local key, rate, burst = NS .. 'bucket:' .. ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local held = call('HMGET', key, 'tokens', 'at')
local tokens, at = tonumber(held[1] or burst), tonumber(held[2] or now)
tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
if tokens < 1 - 1e-9 then -- waiting exactly as long as told must be enough, roundings included
  return answer(exact((1 - tokens) / rate), 'take')
end
call('HSET', key, 'tokens', exact(tokens - 1), 'at', exact(now))
call('EXPIRE', key, math.ceil(math.min(burst / rate, 1e8)) + GRACE) -- by then it is full again
return answer('0', 'take')
