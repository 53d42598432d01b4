# The client from GHTorrent's page on streaming, verbatim except that host, port and key are
# arguments, and that it stops after the given number of messages.
require 'bunny'

host, port, key, wanted = ARGV
conn = Bunny.new(:host => host, :port => port.to_i, :username => 'streamer', :password => 'streamer')
conn.start
ch = conn.create_channel
exchange = ch.topic('ght-streams', :durable => true)
q = ch.queue("gousiosg_queue", :auto_delete => true)
q.bind(exchange, :routing_key => key)
STDOUT.sync = true
puts "bound"
seen = 0
done = Queue.new
q.subscribe do |delivery_info, metadata, payload|
  puts "#{delivery_info.routing_key}: #{payload}"
  seen += 1
  done.push(true) if seen == wanted.to_i
end
done.pop
conn.close
