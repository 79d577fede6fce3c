/** A gRPC server that answers with its name and the message, by calls and by streams: ADDRESS PORT NAME. */
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from '@grpc/grpc-js'
import { service } from './grpc-service.ts'

const [address, port, name] = process.argv.slice(2)
const server = new Server()
server.addService(service, {
  call: ({ request }: ServerUnaryCall<string, string>, answer: sendUnaryData<string>) =>
    answer(null, `${name} ${request}`),
  talk: (stream: ServerDuplexStream<string, string>) => {
    stream
      .on('data', text => stream.write(`${name} ${text}`))
      .on('end', () => stream.end())
      .on('error', () => {})
  },
})
server.bindAsync(`${address}:${port}`, ServerCredentials.createInsecure(), error => {
  if (error) throw error
})
// GOAWAY, and calls in progress end; a stream has a second.
process.on('SIGTERM', () => {
  server.tryShutdown(() => process.exit(0))
  setTimeout(() => process.exit(0), 1000)
})
