-- Request: nothing. Answers the server's INFO; nothing if its user may not ask for it.

local info = redis.pcall('INFO')
return type(info) == 'table' and '' or info
