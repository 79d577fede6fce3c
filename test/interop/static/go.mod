module starlane.dev/interop/static

go 1.25.0
