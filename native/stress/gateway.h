// A gateway without Node: answers each CONNECT and echoes, or misbehaves as `:authority` says. For the stress of tunnels.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

struct ssl_ctx_st;

class StressGateway {
 public:
  // PEM. Listens on loopback.
  StressGateway(const std::string& certificate, const std::string& key);
  ~StressGateway();
  int port() const { return port_; }

 private:
  void accept();
  void serve(int fd);

  ssl_ctx_st* context_;
  int listening_;
  int port_ = 0;
  std::atomic<bool> over_{false};
  std::vector<std::thread> serving_;
  std::thread accepting_;
};
