/** What is wrong with the certificates of a TLS connection, by the text of its error: gRPC hands on nothing else. */

export type TlsFault = 'untrusted' | 'name' | 'expired' | 'client'

const patterns: readonly (readonly [TlsFault, RegExp])[] = [
  ['name', /does not match certificate's altnames/i],
  ['expired', /certificate has expired|certificate is not yet valid/i],
  [
    'untrusted',
    /self.signed certificate|unable to verify the first certificate|unable to get (local )?issuer certificate/i,
  ],
  // What a server says of the certificate of its client.
  ['client', /alert (certificate required|bad certificate|unknown ca|certificate unknown|certificate expired)/i],
]

export function tlsFaultOf(message: string): TlsFault | undefined {
  return patterns.find(([, pattern]) => pattern.test(message))?.[0]
}

/** Without what Node advises of its own command line, which is not that of Starlane. */
export function withoutAdvice(message: string): string {
  return message.replace(/; if the root CA is installed locally, try running Node\.js with --use-system-ca/g, '')
}
