-- server
-- What the server says of itself. Answers its INFO; nothing where its user may not ask.

local told = redis.pcall('INFO')
return type(told) == 'table' and '' or told
