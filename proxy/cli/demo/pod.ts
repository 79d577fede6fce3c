/** The program of a demo pod, `starlane demo pod`: a separate process, so that the demo can kill it. */
import { createServer } from 'node:http'

/** Answers every request with `MESSAGE` of the environment, and tells the demo, its parent, when it listens. */
export function servePod(env: Readonly<Record<string, string | undefined>>): void {
  const { POD_IP: host = '127.0.0.1', POD_PORT: port = '8080', POD_NAME: name = 'pod', MESSAGE: message = '{}' } = env
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json', 'x-pod': name })
    response.end(`${message}\n`)
  })
  server.listen(Number(port), host, () => process.send?.('ready'))

  server.on('error', error => process.send?.(error.message, () => process.exit(1)))

  process.on('SIGTERM', () => server.close(() => process.exit(0)))
  // End with the demo, even if it crashes.
  process.on('disconnect', () => process.exit(0))
}
