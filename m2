[{ "start": 0, "length": 1929216, "depth": 0, "present": true, "zero": false, "data": true},
{ "start": 1929216, "length": 6459392, "depth": 0, "present": false, "zero": true, "data": false}]
