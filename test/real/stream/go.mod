module sello.test/stream

go 1.26
