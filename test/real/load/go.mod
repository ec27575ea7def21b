module sello.test/load

go 1.26
