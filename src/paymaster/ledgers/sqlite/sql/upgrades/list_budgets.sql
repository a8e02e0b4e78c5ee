SELECT name, settled + held FROM account WHERE name = 'usd' OR name GLOB 'usd/*'
