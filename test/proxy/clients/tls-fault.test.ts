/** What is wrong with a TLS connection, by the text of its error. */
import t from 'tap'
import { tlsFaultOf, withoutAdvice } from '../../../proxy/clients/tls-fault.ts'

t.test('each kind, as Node and OpenSSL word it', t => {
  for (const [message, fault] of [
    ['self-signed certificate', 'untrusted'],
    ['self signed certificate in certificate chain', 'untrusted'],
    ['unable to verify the first certificate', 'untrusted'],
    ['unable to get local issuer certificate', 'untrusted'],
    ['unable to get issuer certificate', 'untrusted'],
    ["Hostname/IP does not match certificate's altnames: IP: 10.0.0.1 is not in the cert's list: ", 'name'],
    ['certificate has expired', 'expired'],
    ['certificate is not yet valid', 'expired'],
    ['C0:error:0A00045C:SSL routines:ssl3_read_bytes:tlsv13 alert certificate required:../deps/x.c:1', 'client'],
    ['error:0A000418:SSL routines:ssl3_read_bytes:tlsv1 alert unknown ca:../deps', 'client'],
    ['error:0A000412:SSL routines:ssl3_read_bytes:sslv3 alert bad certificate:../deps', 'client'],
    ['connect ECONNREFUSED 127.0.0.1:2379', undefined],
    ['error:0A00010B:SSL routines:ssl3_get_record:wrong version number', undefined],
    ['', undefined],
  ] as const)
    t.equal(tlsFaultOf(message), fault, message)
  t.end()
})

t.test('what Node advises of its own command line is left out', t => {
  const advice = '; if the root CA is installed locally, try running Node.js with --use-system-ca'
  t.equal(withoutAdvice(`self-signed certificate${advice}`), 'self-signed certificate')
  t.equal(withoutAdvice('connect ECONNREFUSED'), 'connect ECONNREFUSED')
  t.end()
})
