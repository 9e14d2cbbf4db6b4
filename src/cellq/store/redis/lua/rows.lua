-- Jobs as `get` and `find` hand them out.

local ABSENT = pack('<I4', 4294967295)

local function sized(value)
  return value and pack('<I4', #value) .. value or ABSENT
end

-- parts: 0 payload, 1 code, 2 result, 3 error, as digits
local FIELDS = {['0'] = 'p', ['2'] = 'r', ['3'] = 'e'}

local function row(id, parts)
  local fields = {'v', 'm', 'o', 'f', 'x'}
  for part in string.gmatch(parts, '.') do
    fields[#fields + 1] = FIELDS[part] or '-'
  end
  local values = call('HMGET', JOB .. id, unpack(fields))
  local record = values[1]
  if not record then
    return nil
  end
  for place, field in ipairs(fields) do
    if field == '-' then
      values[place] = call('HGET', CODE .. read(record).code, 'b')
    end
    values[place] = sized(values[place])
  end
  local waits = string.byte(record, 1) == 0 and string.byte(record, 4) == 1 -- see RECORD
  values[#fields + 1] = sized(waits and table.concat(call('ZRANGE', NS .. 'parents:' .. id, 0, -1)))
  return id .. table.concat(values)
end
