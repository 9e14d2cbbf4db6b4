-- find: the next rows of a list, newest first; or by their ending, those that ended first first.
--
-- ARGV[5]  states as digits, ARGV[6] queue, ARGV[7] name, ARGV[8] key, ARGV[9] last digits of the id,
-- ARGV[10] created after, ARGV[11] "1" to go by ending; an empty one means any
-- ARGV[12] the place (or ending) to go on behind, "" to begin
-- ARGV[13] rows wanted, ARGV[14] jobs to look at before it lets others have the server
--
-- Gives, packed, the time, whether there may be more, the place reached, then the jobs.
-- include: call.lua
-- include: record.lua
-- include: values.lua
-- include: limits.lua
-- include: places.lua
-- include: rows.lua

local states, queue, name, key, suffix = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local created_after, by_ending, mark = tonumber(ARGV[10]), ARGV[11] == '1', tonumber(ARGV[12])
local wanted, patience = tonumber(ARGV[13]), tonumber(ARGV[14])

local sources, seen = {}, {}
local queues = queue ~= '' and {queue} or call('HKEYS', NS .. 'queues')
for digit in string.gmatch(states, '.') do
  local state = tonumber(digit)
  if not seen[state] and not (by_ending and state < COMPLETED) then
    seen[state] = true
    for _, of in ipairs(by_ending and {''} or queues) do
      sources[#sources + 1] = NS .. (by_ending and 'ended:' .. STATES[state] or 'jobs:' .. STATES[state] .. ':' .. of)
    end
  end
end

-- The next `count` candidates of all sources together.
local function candidates(count)
  local found = {}
  for _, source in ipairs(sources) do
    local members
    if by_ending then
      members = call('ZRANGEBYSCORE', source, '(' .. exact(mark or 0), '+inf', 'WITHSCORES', 'LIMIT', 0, count)
    else
      local from = mark and '(' .. exact(mark) or '+inf'
      members = call('ZREVRANGEBYSCORE', source, from, '-inf', 'WITHSCORES', 'LIMIT', 0, count)
    end
    for n = 1, #members, 2 do
      found[#found + 1] = {id = string.sub(members[n], 1, 32), queue = string.sub(members[n], 33),
        place = tonumber(members[n + 1]), member = members[n], source = source}
    end
  end
  table.sort(found, function(one, two)
    if by_ending then
      return one.place < two.place
    end
    return one.place > two.place
  end)
  return found
end

local function suits(one)
  if suffix ~= '' and string.sub(one.id, -#suffix) ~= suffix then
    return false
  elseif by_ending and queue ~= '' and one.queue ~= queue then
    return false
  end
  if name == '' and key == '' and not created_after then
    return true
  end
  local values = call('HMGET', JOB .. one.id, 'v', 'm')
  if not values[1] then
    return false
  end
  local job = read(values[1])
  return (key == '' or job.key == key) and (not created_after or job.created > created_after)
    and (name == '' or cjson.decode(values[2])[2] == name)
end

local rows, more = {}, true
while more and #rows < wanted and patience > 0 do
  local count = math.max(wanted - #rows, 50)
  local found = candidates(count)
  more = #found >= count
  for n = 1, math.min(count, #found) do
    local one = found[n]
    mark, patience = one.place, patience - 1
    if suits(one) then
      local found_row = row(one.id, '')
      if found_row then
        rows[#rows + 1] = found_row
        if #rows == wanted then
          more = true
          break
        end
      end
    end
  end
end
return pack('<dBd', now, more and 1 or 0, mark or -1) .. table.concat(rows)
