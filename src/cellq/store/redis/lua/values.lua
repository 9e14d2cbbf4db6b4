-- Large values, which lie in pieces of their own, and code, which many jobs refer to.
--
-- A value is "=" and its bytes, or "@<token> <size> <size of a piece>" for one in pieces. The field `b` of a job names
-- its tokens, "<field>:<token> " each. An upload lives for an hour unless somebody adopts it.

local BLOB, CODE = NS .. 'blob:', NS .. 'code:'

local function token_of(value)
  return string.match(value, '^@(%S+)')
end

local function discard(value)
  local token = value and token_of(value)
  if token then
    call('UNLINK', BLOB .. token)
  end
end

-- The tokens of a job whose field now holds this value (nil: none).
local function adopt(blobs, field, value)
  if blobs then
    blobs = string.gsub(blobs, field .. ':(%S+) ', function(token)
      call('UNLINK', BLOB .. token)
      return ''
    end)
  end
  local token = value and token_of(value)
  if token then
    call('PERSIST', BLOB .. token)
    return (blobs or '') .. field .. ':' .. token .. ' '
  end
  return blobs
end

local function each_blob(blobs, command, ...)
  for token in string.gmatch(blobs or '', '.:(%S+) ') do
    call(command, BLOB .. token, ...)
  end
end

-- A code counts the jobs that refer to it and those of them that are live. While there are live ones it stays, without
-- them it has a time to live, and without any it is idle: the next prune removes it.
local codes = {}

local function refer(digest, live, all)
  if digest ~= '' then
    local code = codes[digest]
    if code then
      code[1], code[2] = code[1] + live, code[2] + all
    else
      codes[digest] = {live, all}
    end
  end
end

local function code_blob(key, command, ...)
  local token = call('HGET', key, 't')
  if token then
    call(command, BLOB .. token, ...)
  end
end

local function settle_code()
  for digest, change in pairs(codes) do
    local key = CODE .. digest
    local live = change[1] ~= 0 and call('HINCRBY', key, 'live', change[1]) or tonumber(call('HGET', key, 'live')) or 0
    local all = change[2] ~= 0 and call('HINCRBY', key, 'all', change[2]) or tonumber(call('HGET', key, 'all')) or 0
    if live > 0 then
      if live == change[1] and call('PERSIST', key) == 1 then
        code_blob(key, 'PERSIST')
      end
    else
      local seconds = keep and math.ceil(keep) + GRACE
      if all <= 0 then
        seconds = seconds or GRACE
      end
      if seconds then
        call('EXPIRE', key, seconds)
        code_blob(key, 'EXPIRE', seconds)
      end
    end
    if all <= 0 then
      call('SADD', NS .. 'idle', digest)
    elseif all == change[2] then
      call('SREM', NS .. 'idle', digest)
    end
  end
  codes = {}
end

