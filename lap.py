from adjax import process
process.prepare()
from threadpoolctl import threadpool_info
print([ (i['filepath'][-60:], i['num_threads']) for i in threadpool_info()])
import sys
print('scipy.linalg' in sys.modules)
sys.argv=["x","finalize","20000","500"]
exec(open("/tmp/mj/stall.py").read())
print([ (i['filepath'][-60:], i['num_threads']) for i in threadpool_info()])
