/** The optional package for gRPC, loaded when a configuration asks for something that needs it. */
import { type ErrorCode, MeshError, messageOf } from '../model/error.ts'

export type Grpc = typeof import('@grpc/grpc-js')

/** `what` needs it. Rejects with `code` and the remedy where it is not installed. */
export async function loadGrpc(what: string, code: ErrorCode): Promise<Grpc> {
  try {
    return await import('@grpc/grpc-js')
  } catch (error) {
    const message = `${what} needs the package @grpc/grpc-js; run npm install @grpc/grpc-js (${messageOf(error)})`
    throw new MeshError(code, message, { cause: error })
  }
}
